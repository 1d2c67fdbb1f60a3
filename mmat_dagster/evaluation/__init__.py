"""Students examined: benchmarks asked of them as agents, every answer kept, scores with their intervals."""
