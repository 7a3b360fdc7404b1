"""Plotly figures. They carry no colours of text or paper: `assets/nas.css` gives them light or dark ones."""
