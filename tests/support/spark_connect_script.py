"""Ask through Spark Connect, and print what is known of it; run by a test."""

import json
import os
import sys

os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
os.environ["PANDAS_LLM_CACHE"] = "off"

from pyspark.sql import SparkSession

import pandas_llm.spark
from pandas_llm._cluster import session as spark_session
from pandas_llm.errors import NoUsageError

session = SparkSession.builder.remote("local[2]").getOrCreate()
rows = [(at, f"President {at} was born in {1700 + at}.") for at in range(12)]
presidents = session.createDataFrame(rows, "id int, text string").repartition(3)
out = pandas_llm.spark.extract(
    presidents,
    "${text}",
    {"born": int},
    model="sim",
    base_url=sys.argv[1],
    usage_column="used",
).cache()
told = {"rows": len(out.collect()), "dtypes": out.dtypes[2:]}
told["requests"] = pandas_llm.spark.usage_of(out, "used").requests
told["cores"] = spark_session.cores(session)
try:
    pandas_llm.spark.last_usage()
except NoUsageError as error:
    told["error"] = str(error)
session.stop()
print(json.dumps(told))
