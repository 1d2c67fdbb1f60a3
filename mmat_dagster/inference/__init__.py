"""Students that answer: a server of one student's weights that speaks the OpenAI protocol.

`python -m mmat_dagster.inference --config <folder>/serving.json` is the process; torch is imported there alone.
"""
