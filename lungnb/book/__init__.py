"""The book: reports of the notebooks, recorded results, the builder, the site. It reads what the other rooms make."""

from lungnb.book.parameters import check_parameters
from lungnb.book.report import Report, comparison
from lungnb.book.sentences import difference, value

__all__ = ["Report", "check_parameters", "comparison", "difference", "value"]
