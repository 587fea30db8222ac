"""Adapters as one page for people: what they change, by how much, and where in the spectrum.

Adapter -> measured -> figures -> sections -> page. No JavaScript, nothing from a network.
"""

from fourier_converters.html.convert import to_html

__all__ = ["to_html"]
