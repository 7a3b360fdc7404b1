"""Architecture search by gradients: the weights and the strengths of a relaxed network trained side by side."""
