"""The only room that knows the compiler: decorator, cache, launch, and the emitters of vector code."""
