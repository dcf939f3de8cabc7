"""Tables: .csv and .parquet files, folders of Hugging Face `datasets`, and pandas DataFrames, as rows of numbers."""
