"""Decontamination: which samples leak an evaluation benchmark, by their images or by their question.

<folder>/<benchmark>/** --read_benchmarks--> BenchmarkItem --build--> BenchmarkIndex --guard--> Guard --leaks--> Leak
"""
