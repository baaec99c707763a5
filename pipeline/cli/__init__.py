"""One module per stage: an argument parser and ``main(argv)``; the logic is in the packages below."""
