"""Pairs of sentences, of different lengths."""

LENGTH = 24
FIRST = [
    "A man is playing a guitar.",
    "The adapter was trained on two thousand three hundred sentences, and merged.",
    "No.",
]
SECOND = [
    "Somebody plays an instrument.",
    "It's 4.5 °C in Zürich - naïve users wouldn't believe it!",
    "Perhaps unbelievably, reparametrization tokenizes into many pieces.",
]
