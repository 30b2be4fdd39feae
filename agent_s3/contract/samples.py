"""Texts that are typed into every toolkit."""

MIXED = "Àéîöñßœ Привет, мир. Καλημέρα κόσμε. 日本語 中文 한글 😀🚀 שלום مرحبا €"
"""Latin with accents, Cyrillic, Greek, Han, Hangul, emoji, and two scripts that run from right to left."""
_SENTENCE = "The quick brown fox jumps over the lazy dog; PACK 12 boxes (with 5 dozen) @ $3.50 each! "
TWO_THOUSAND = (_SENTENCE * 40)[:2000]
"""2,000 characters in one line, with signs that need Shift."""
