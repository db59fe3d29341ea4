"""``df.llm`` and ``series.llm``: the verbs as methods, thin over `Plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from pandas_llm._display import ends_here
from pandas_llm.embedding import Embedding
from pandas_llm.signatures import show_options

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from os import PathLike

    import pandas as pd

    from pandas_llm._display import Usage
    from pandas_llm._report import Report
    from pandas_llm._run import Estimate
    from pandas_llm._verbs import Tokenizer
    from pandas_llm.batch import BatchJob
    from pandas_llm.options import (
        ExplodeOptions,
        LabelOptions,
        Options,
        RecordOptions,
        SeriesOptions,
    )
    from pandas_llm.plan import Plan

How = Literal["left", "inner"]
Errors = Literal["coerce", "raise"]


def make_plan(template: str, keys: Any, verb: Any, /, **options: Any) -> Plan:
    """Make a plan; all else of the package is imported here, not with it."""
    from pandas_llm.plan import Plan

    return Plan(template, keys, verb=verb, **options)


class LLMAccessor(Embedding):
    """Run a language model over the rows of a DataFrame, or the values of a Series.

    ``${column}`` in a template stands for the row's value; on a Series ``${value}``
    or its name does. Every verb takes the options of the README's table, and has an
    async twin with an ``a`` in front for use in a running event loop.

    On a frame with a column named ``llm``, ``df.llm`` is this accessor and
    ``df["llm"]`` the column.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> docs = pd.DataFrame({"text": ["Adams was the second president."]})
    >>> out = docs.llm.generate(
    ...     "Write question and answer pairs about: ${text}",
    ...     keys=["question", "answer"],
    ...     model="sim",
    ... )
    >>> list(out.columns)
    ['text', 'question', 'answer']
    """

    def __init__(self, data: Any) -> None:
        self._data = data

    @ends_here
    def generate(  # noqa: PLR0913 - the verb's own parameters, all by name
        self,
        template: str,
        keys: Any,
        *,
        how: How = "left",
        ignore_index: bool = False,
        errors: Errors = "coerce",
        error_column: str | None = None,
        flatten: bool = False,
        unique: bool = True,
        **options: Unpack[Options],
    ) -> pd.DataFrame:
        """Generate zero to many records a row, joined to the row's own columns.

        Parameters
        ----------
        template : str
            The prompt, with ``${column}`` for values; ``$$`` is a dollar.
        keys : list, mapping or pydantic model
            The new columns: names, names with types, or a model of one record.
        how : {"left", "inner"}
            Keep a row without record as one row of NA, or drop it.
        ignore_index : bool
            Number the result anew; otherwise labels repeat as with ``explode``.
        errors : {"coerce", "raise"}
            A failed row is NA and one warning counts them, or a `GenerationError`
            is raised when all rows are done.
        error_column : str, optional
            A column for each row's reason.
        flatten : bool
            Give the fields of a nested model columns of their own, ``name.field``.
        unique : bool
            Keep equal records of a row once; False keeps those of one reply, such
            as two coffees on one receipt.
        **options
            See the table in the README.

        Returns
        -------
        DataFrame
            The input's columns, then the new ones; one row per record.

        Raises
        ------
        TemplateError, ValueError, TypeError, ConfigurationError
            Before anything is sent.
        GenerationError
            With ``errors="raise"``; has ``.partial`` and ``.failures``.
        LLMError
            One that is fatal (a wrong key, no credit); has ``.partial`` too.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> df = pd.DataFrame({"text": ["It rained on 2 days."]})
        >>> out = df.llm.generate("Facts in: ${text}", {"fact": str}, model="sim")
        >>> bool(out["fact"].isna().any())
        False
        """
        plan = make_plan(
            template,
            keys,
            "generate",
            how=how,
            ignore_index=ignore_index,
            errors=errors,
            error_column=error_column,
            flatten=flatten,
            unique=unique,
            **options,
        )
        result: pd.DataFrame = plan(self._data)
        return result

    @ends_here
    async def agenerate(
        self, template: str, keys: Any, **options: Unpack[ExplodeOptions]
    ) -> pd.DataFrame:
        """Generate as `generate` does, in the running event loop.

        Examples
        --------
        >>> import asyncio
        >>> import pandas as pd
        >>> import pandas_llm
        >>> df = pd.DataFrame({"text": ["It rained on 2 days."]})
        >>> facts = df.llm.agenerate("Facts in: ${text}", ["fact"], model="sim")
        >>> asyncio.run(facts).columns.tolist()  # in a notebook: await facts
        ['text', 'fact']
        """
        plan = make_plan(template, keys, "generate", **options)
        result: pd.DataFrame = await plan.acall(self._data)
        return result

    @ends_here
    def extract(
        self,
        template: str,
        keys: Any,
        *,
        errors: Errors = "coerce",
        error_column: str | None = None,
        flatten: bool = False,
        **options: Unpack[Options],
    ) -> pd.DataFrame:
        """Extract exactly one record a row, joined to the row's own columns.

        Parameters
        ----------
        template, keys, errors, error_column, flatten, **options
            As for `generate`.

        Returns
        -------
        DataFrame
            The input's rows and columns, with the new columns.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> df = pd.DataFrame({"text": ["Born in 1732."]})
        >>> out = df.llm.extract("From: ${text}", {"year": int}, model="sim")
        >>> out["year"].dtype
        Int64Dtype()
        """
        plan = make_plan(
            template,
            keys,
            "extract",
            errors=errors,
            error_column=error_column,
            flatten=flatten,
            **options,
        )
        result: pd.DataFrame = plan(self._data)
        return result

    @ends_here
    async def aextract(
        self, template: str, keys: Any, **options: Unpack[RecordOptions]
    ) -> pd.DataFrame:
        """Extract as `extract` does, in the running event loop.

        Examples
        --------
        >>> import asyncio
        >>> import pandas as pd
        >>> import pandas_llm
        >>> df = pd.DataFrame({"text": ["Born in 1732."]})
        >>> years = df.llm.aextract("From: ${text}", {"year": int}, model="sim")
        >>> asyncio.run(years)["year"].dtype  # in a notebook: await years
        Int64Dtype()
        """
        plan = make_plan(template, keys, "extract", **options)
        result: pd.DataFrame = await plan.acall(self._data)
        return result

    @overload
    def complete(
        self,
        template: str,
        *,
        name: str = ...,
        errors: Errors = ...,
        error_column: None = ...,
        **options: Unpack[Options],
    ) -> pd.Series: ...

    @overload
    def complete(
        self,
        template: str,
        *,
        name: str = ...,
        errors: Errors = ...,
        error_column: str,
        **options: Unpack[Options],
    ) -> pd.DataFrame: ...

    @ends_here
    def complete(
        self,
        template: str,
        *,
        name: str = "completion",
        errors: Errors = "coerce",
        error_column: str | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Complete each row's prompt with plain text.

        Parameters
        ----------
        template : str
            The prompt, with ``${column}`` for values.
        name : str
            The result's name.
        errors, error_column, **options
            As for `generate`.

        Returns
        -------
        Series
            The texts under the input's labels; with ``n > 1`` labels repeat. A
            DataFrame with `error_column` or ``details=True``.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> cities = pd.Series(["Oslo", "Rome"], name="city")
        >>> cities.llm.complete("Praise ${city}.", model="sim").index.tolist()
        [0, 1]
        """
        plan = make_plan(
            template,
            None,
            "complete",
            name=name,
            errors=errors,
            error_column=error_column,
            **options,
        )
        return plan(self._data)

    @ends_here
    async def acomplete(self, template: str, **options: Unpack[SeriesOptions]) -> Any:
        """Complete as `complete` does, in the running event loop.

        Examples
        --------
        >>> import asyncio
        >>> import pandas as pd
        >>> import pandas_llm
        >>> cities = pd.Series(["Oslo", "Rome"], name="city")
        >>> praise = cities.llm.acomplete("Praise ${city}.", model="sim")
        >>> len(asyncio.run(praise))  # in a notebook: await praise
        2
        """
        return await make_plan(template, None, "complete", **options).acall(self._data)

    @overload
    def classify(
        self,
        template: str,
        labels: Any,
        *,
        name: str = ...,
        confidence: Literal[False] = ...,
        errors: Errors = ...,
        error_column: None = ...,
        **options: Unpack[Options],
    ) -> pd.Series: ...

    @overload
    def classify(
        self,
        template: str,
        labels: Any,
        *,
        name: str = ...,
        confidence: bool = ...,
        errors: Errors = ...,
        error_column: str | None = ...,
        **options: Unpack[Options],
    ) -> pd.DataFrame: ...

    @ends_here
    def classify(  # noqa: PLR0913 - the verb's own parameters, all by name
        self,
        template: str,
        labels: Any,
        *,
        name: str | None = None,
        confidence: bool = False,
        errors: Errors = "coerce",
        error_column: str | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Give each row one of the labels.

        Parameters
        ----------
        template : str
            The prompt, with ``${column}`` for values.
        labels : list of str, or mapping of str to str
            The labels, or each label with its description.
        name : str, optional
            The result's name, by default "label".
        confidence : bool
            Add the share of the votes that the label got (see `n`), 0 to 1, as a
            column ``confidence``, or ``<name>_confidence`` where `name` is passed.
        errors, error_column, **options
            As for `generate`. With ``n > 1`` the choices vote; a tie goes to the
            label listed first.

        Returns
        -------
        Series
            Categorical, with exactly the labels as categories. A DataFrame with
            `confidence`, `error_column` or ``details=True``.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> mood = pd.Series(["What a good day"]).llm.classify(
        ...     "Mood of: ${value}", ["good", "bad"], model="sim"
        ... )
        >>> mood.cat.categories.tolist()
        ['good', 'bad']
        """
        plan = make_plan(
            template,
            labels,
            "classify",
            name=name,
            confidence=confidence,
            errors=errors,
            error_column=error_column,
            **options,
        )
        return plan(self._data)

    @ends_here
    async def aclassify(
        self, template: str, labels: Any, **options: Unpack[LabelOptions]
    ) -> Any:
        """Classify as `classify` does, in the running event loop.

        Examples
        --------
        >>> import asyncio
        >>> import pandas as pd
        >>> import pandas_llm
        >>> mood = pd.Series(["What a good day"]).llm.aclassify(
        ...     "Mood of: ${value}", ["good", "bad"], model="sim"
        ... )
        >>> asyncio.run(mood).cat.categories.tolist()  # in a notebook: await mood
        ['good', 'bad']
        """
        return await make_plan(template, labels, "classify", **options).acall(
            self._data
        )

    @ends_here
    def submit(
        self,
        template: str,
        keys: Any = None,
        *,
        verb: Literal["generate", "extract", "complete", "classify"] | None = None,
        **options: Any,
    ) -> BatchJob:
        """Send the rows to the provider's batch endpoint, and do not wait.

        Half the price, an answer within a day. ``batch=True`` on a verb waits.

        Parameters
        ----------
        template, keys, **options
            As for the verb. Replies are kept in the cache, and so is the job: the
            same call again goes on with it.
        verb : str, optional
            ``"generate"``, or ``"complete"`` without `keys`.

        Returns
        -------
        BatchJob
            With `id` (for `pandas_llm.batch.load`), `status`, `result`, `cancel`.

        Examples
        --------
        >>> import tempfile
        >>> import pandas as pd
        >>> from pandas_llm.simulator import Simulator
        >>> cities = pd.DataFrame({"city": ["Oslo", "Rome"]})
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Simulator() as server:
        ...     job = cities.llm.submit(
        ...         "Facts on ${city}.", ["fact"], model="sim", cache=folder.name,
        ...         base_url=server.base_url, progress=False,
        ...     )
        ...     out = job.result(cities)
        >>> out["fact"].notna().all()
        np.True_
        >>> folder.cleanup()
        """
        plan = make_plan(
            template, keys, verb or ("generate" if keys else "complete"), **options
        )
        return plan.submit(self._data)

    @ends_here
    def preview(
        self,
        template: str,
        keys: Any = None,
        rows: int = 3,
        *,
        as_requests: bool = False,
        **options: Unpack[Options],
    ) -> pd.DataFrame:
        """Show the prompts of the first `rows` rows; nothing is sent.

        Parameters
        ----------
        template, keys, **options
            As for `generate`; without `keys` as for `complete`.
        rows : int, default 3
            How many.
        as_requests : bool, default False
            Show the exact requests instead: URL, headers and JSON body, with keys
            masked. What an endpoint was found not to understand is left out, once
            this process has talked to it.

        Returns
        -------
        DataFrame
            Under the rows' labels.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> cities = pd.Series(["Oslo"])
        >>> cities.llm.preview("Praise ${value}.")["prompt"].tolist()
        ['Praise Oslo.']
        >>> sent = cities.llm.preview("Praise ${value}.", as_requests=True, model="sim")
        >>> print(sent["body"].iloc[0])
        {"model":"sim","messages":[{"role":"user","content":"Praise Oslo."}]}
        """
        verb = "complete" if keys is None else "generate"
        plan = make_plan(template, keys, verb, **options)
        return plan.preview(self._data, rows, as_requests=as_requests)

    @ends_here
    def estimate(
        self,
        template: str,
        keys: Any = None,
        *,
        pilot: int = 0,
        **options: Unpack[Options],
    ) -> Estimate:
        """Tell what a run would take, before it is made.

        Parameters
        ----------
        template, keys, **options
            As for `generate`; without `keys` as for `complete`.
        pilot : int, default 0
            Rows to answer first, for a cost with a range. Their replies are
            cached, so the run does not pay for them again. Nothing is sent
            without it.

        Returns
        -------
        Estimate
            Rows, requests after cache and duplicates, tokens, and dollars.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> cities = pd.Series(["Oslo", "Rome", "Oslo"])
        >>> print(cities.llm.estimate(
        ...     "Praise ${value}.", model="sim", prices={"sim": (1.0, 2.0)}, cache=False
        ... ))
        rows              3
        cached            0
        requests to send  2
        tokens in         6
        tokens out        100 (a guess; pilot=20 finds out)
        cost              $0.000206
        """
        verb = "complete" if keys is None else "generate"
        return make_plan(template, keys, verb, **options).estimate(self._data, pilot)

    @ends_here
    def chunk(
        self,
        column: Hashable | None = None,
        *,
        max_tokens: int,
        overlap: int = 0,
        tokenizer: Callable[[str], int] | Tokenizer | None = None,
        name: str = "chunk",
    ) -> pd.DataFrame:
        """Explode a column of long texts into chunks, one row each; nothing is sent.

        Texts are cut between paragraphs if they can be, else between sentences,
        words or characters; blanks around a chunk are dropped.

        Parameters
        ----------
        column : label, optional
            The column of texts; not needed on a Series.
        max_tokens : int
            The most tokens a chunk may have.
        overlap : int, default 0
            The most tokens that a chunk may repeat of the one before it, in whole
            units of the kind it is cut at: sentences within a paragraph; between
            paragraphs only a whole one that is so short.
        tokenizer : callable or tokenizer, optional
            Counts the tokens of a text: a function, or an object with ``encode``
            such as tiktoken's. Without it they are guessed, within 20 % for most
            languages, as for rate limits.
        name : str, default "chunk"
            The new column, which numbers the chunks of a row from 0.

        Returns
        -------
        DataFrame
            The columns of the input, the texts cut; labels repeat as with
            ``explode``. A row without a text keeps one row, with NA for both.

        Raises
        ------
        ConfigurationError
            Without ``pip install 'pandas-llm-accessor[chunk]'``.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> docs = pd.DataFrame({"text": ["It rained. Then the sun came out."]})
        >>> docs.llm.chunk("text", max_tokens=6)
                             text  chunk
        0              It rained.      0
        0  Then the sun came out.      1
        """
        from pandas_llm._verbs import chunk

        return chunk(
            self._data,
            column,
            max_tokens=max_tokens,
            overlap=overlap,
            tokenizer=tokenizer,
            name=name,
        )

    @property
    @ends_here
    def usage(self) -> Usage:
        """What the run, or the chain of runs, that made this object has used."""
        from pandas_llm._run import usage

        return usage(self._data)

    @ends_here
    def report(self, path: str | PathLike[str] | None = None) -> Report:
        """Give the report of the run, or chain of runs, that made this object.

        Parameters
        ----------
        path : str or path, optional
            A file to write it to, as one HTML page.

        Returns
        -------
        Report
            A notebook shows it; printed, it is the totals.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> out = pd.Series(["Oslo"]).llm.complete("Praise ${value}.", model="sim")
        >>> "<svg" in out.llm.report()._repr_html_()
        True
        """
        from pandas_llm._report import Report
        from pandas_llm._run import runs, usage

        report = Report(usage(self._data), runs(self._data))
        if path is not None:
            report.save(path)
        return report


_SENDING = ("generate", "extract", "complete", "classify", "embed")
for _verb in (*_SENDING, "preview", "estimate", "submit"):
    show_options(getattr(LLMAccessor, _verb), getattr(LLMAccessor, _verb))
for _verb in _SENDING:
    show_options(getattr(LLMAccessor, "a" + _verb), getattr(LLMAccessor, _verb))
