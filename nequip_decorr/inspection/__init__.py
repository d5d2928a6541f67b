"""See the correlation of a trained model's features: numbers, pictures, one page.

    model, frames -> feature blocks -> streamed moments -> statistics -> table, pictures, page

============== ===================================================================
``sources``    models and data: opened, looked through
``reading``    blocks of features, batch by batch
``accumulate`` one pass over the batches, in memory that no number of frames changes
``statistics`` from moments to what a row of the table says
``entry``      one model on one data set
``result``     :class:`Inspection`: every model on every data set
``plots``      the pictures
``page``       the HTML page
============== ===================================================================
"""
