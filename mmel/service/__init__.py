"""The linker as a service: requests are read within limits, linked together by one worker, and answered."""
