"""The training process: what turns a run's description into a checkpoint.

    loading.py      a student's weights and processor, LoRA's place in it
    templates.py    chat templates that mark what carries loss; templates/: those that nobody else ships
    tiny.py         a random student of vision and language that is made in seconds
    smollm2.py      a small pretrained student of language, from a package

torch, transformers, peft, tokenizers and TRL are imported at the top here: only the training process imports this.
"""
