"""A stand-in for scipy in the browser, where it is not to be had: the functions that lungnb asks for there, and no others.

`tests/book/test_lite.py` holds each of them against scipy itself.
"""

__version__ = "stand-in of lungnb"
