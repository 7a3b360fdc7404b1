"""The commands of `nas`, by what they are for; `nas.cli` puts them together."""
