"""A page in the browser where one plays with the posterior of a saved model, or with an inference alone.

`axes.py`, `subjects.py` and `looks.py` know models and numbers, and nothing of a page: what can be drawn of a saved model,
and what the model answers at the points that a user gave. `warm.py` compiles these answers before they are needed. `panels.py`
and `page.py` are the page of a model. `densities.py` and `moves.py` are inferences step by step, and `inference_page.py` is
their page. `server.py` serves both pages on the user's own machine. The pages are made with Bokeh (the extra `explore`), so
there is no JavaScript here. A page asks a model by the same calls as a program, so its numbers are those of `adapt` and
`predict`. A new density is one row in `densities.py`, and a new inference is one row in `moves.py`.
"""
