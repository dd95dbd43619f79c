"""One agency: its listings and their life, sealing, answering, keyholding."""
