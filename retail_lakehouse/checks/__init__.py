"""What is asserted of the assets.

Here: verdicts (`judges.py`, `view_judges.py`: pure functions) and the checks that hang on the
assets. Not here: taking the look that is judged (`assets/`), the thresholds (`contracts/`), or
when a check is evaluated (`sensors/`). A check evaluated by its button and one evaluated by a
sensor call the same judge. What cannot be seen is a failed check with a sentence, never a skip.
"""
