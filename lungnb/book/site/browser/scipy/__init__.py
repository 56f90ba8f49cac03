"""A stand-in for scipy in the browser, where no build of it is to be had: the functions that lungnb asks for there, and no others.

`tests/book/test_lite.py` holds each of them against scipy itself.
"""

__version__ = "stand-in of lungnb"
