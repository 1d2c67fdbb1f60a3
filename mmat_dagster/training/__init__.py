"""Supervised fine-tuning of students on RR and ORR dialogues.

    spec.py         what a training process is told, and what it tells at its end
    students.py     the students by name
    executor.py     where training runs: what the outside implements
    places.py       where students are trained, as the environment says
    kept.py         what a store keeps of a training under way, for another machine to go on with
    process/        the training process itself; all that imports torch lives there

`python -m mmat_dagster.training --config run.json` is the training process. Nothing in this package but `process`, and
nothing outside it, imports torch: Dagster's process stays light, and a training that dies takes nothing with it.
"""
