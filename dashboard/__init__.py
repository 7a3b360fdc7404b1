"""Pages over a store of studies, served to a browser: `dashboard.app.serve(url)`."""
