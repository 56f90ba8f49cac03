"""One module a paper: plain nn.Module, shapes in the docstring."""
