"""The pages: a list of studies, a study, a trial, and what is shown where there is none."""
