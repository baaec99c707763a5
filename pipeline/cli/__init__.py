"""One file a stage: an argument parser and ``main(argv)``; the logic is in the packages below."""
