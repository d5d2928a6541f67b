"""See the correlation of a trained model's features: numbers, pictures, one page.

    model, frames -> feature blocks -> streamed moments -> statistics -> table, pictures, page

``sources`` opens and looks through models and data, ``accumulate`` takes moments in one pass,
``statistics`` makes of them what a row of the table says, ``entry`` is one model on one data set,
``result`` (:class:`Inspection`) every model on every data set, ``plots`` and ``page`` show it.
"""
