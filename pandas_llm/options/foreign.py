"""Names that other tools have for what is done here: of parameters and of verbs.

One table each. A name is looked up where it would be refused anyhow.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def _named(ours: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Turn ours → theirs round; either may be several words."""
    table: dict[str, tuple[str, ...]] = {}
    for mine, theirs in ours.items():
        for name in theirs.split():
            table[name] = (*table.get(name, ()), *mine.split())
    return table


_PARAMETERS: Mapping[str, tuple[str, ...]] = _named(
    {
        "template": "prompt prompt_template user_prompt user_message instruction "
        "instructions question query template_str user_instruction",
        "system": "system_prompt system_message system_instruction system_text "
        "instructions",
        "keys labels": "schema output_schema fields columns",
        "keys": "output_key_names output_keys output_cols output_columns key_names "
        "response_format response_model response_schema json_schema pydantic_model "
        "output_type output_format labels",
        "labels": "choices categories classes candidate_labels label_set keys",
        "concurrency": "max_workers n_jobs num_workers workers max_concurrency "
        "max_concurrent max_concurrent_requests max_parallel parallelism threads "
        "num_threads max_in_flight concurrent_requests semaphore pool_size",
        "requests_per_minute": "rpm max_rpm rate_limit max_requests_per_minute",
        "tokens_per_minute": "tpm max_tpm max_tokens_per_minute",
        "request_timeout": "timeout api_timeout timeout_s timeout_seconds",
        "max_retries": "retries num_retries n_retries max_attempts max_tries",
        "model": "model_name engine deployment deployment_name llm model_id",
        "base_url": "api_base endpoint base_uri api_url host azure_endpoint "
        "openai_api_base server_url",
        "api_key": "key token openai_api_key api_token",
        "headers": "extra_headers default_headers",
        "extra": "extra_body model_kwargs",
        "max_tokens": "max_output_tokens max_completion_tokens max_new_tokens",
        "n": "num_completions num_samples n_samples num_generations best_of",
        "stop": "stop_sequences stop_words",
        "examples": "few_shot shots few_shot_examples fewshot",
        "messages": "history chat_history message_history conversation turns "
        "message_column messages_column",
        "progress": "progress_bar show_progress show_progress_bar tqdm disable_tqdm "
        "verbose pbar",
        "cache": "cache_dir cache_path cache_file use_cache caching",
        "max_cost": "budget max_budget cost_limit max_spend",
        "reasoning_effort": "reasoning thinking effort",
        "session": "client http_client",
        "fallback": "fallbacks fallback_models",
        "images": "image image_column image_col",
        "files": "file file_column document documents pdf pdfs attachments audio",
        "errors": "on_error raise_errors on_failure",
        "values": "variables context template_values params",
        "name": "output_column output_col suffix new_column result_column",
        "dimensions": "dim dims embedding_size n_dimensions",
        "left_on": "left_key",
        "right_on": "right_key",
        "on": "join_key",
        "k": "top_k topk limit n",
        "by": "group_by groupby",
    }
)
_BODY = (
    *("frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias"),
    *("top_k", "min_p", "user", "metadata", "store", "tools", "tool_choice"),
    *("guided_json", "safety_settings", "parallel_tool_calls", "verbosity"),
)
"""Fields of a vendor's body."""
_ADVICE: Mapping[str, str] = {
    "batch_size": "each row is a request of its own: concurrency= says how many go at "
    "once, batch=True takes the provider's batch endpoint",
    "chunksize": "rows are read as they are sent, so no chunks are needed",
    "stream": "a row's answer is read whole: leave it out",
    "async_": "await the verb's twin, such as df.llm.agenerate",
    "input_data": "the data is the first argument of the function, or df in df.llm",
    **dict.fromkeys(
        ("left_index", "right_index"),
        "the index is not compared: .reset_index() makes a column of it",
    ),
    "axis": "each row is asked: leave it out",
    "inplace": "a new frame is returned: assign it",
    "level": "levels of the index are not columns: .reset_index() makes some of them",
    "observed": "there are only groups of rows: leave it out",
    "as_index": "the groups are the index: .reset_index() makes columns of them",
    **dict.fromkeys(
        ("multi", "multilabel", "multi_label", "multiple", "multi_class"),
        "for several labels a row call extract with keys={'labels': list[Literal[…]]}",
    ),
    "keys": "generate and extract have them",
    "labels": "classify has them",
    "name": "it is for verbs that return a Series; keys= names columns",
    **dict.fromkeys(("template", "errors"), "pass it to a verb's call"),
    "provider": "write it before the model: model='anthropic/claude-…'",
    **dict.fromkeys(("items", "like", "regex"), "df.filter picks labels, without llm"),
} | dict.fromkeys(
    ("df", "dataframe", "input_df", "rows_data"),
    "the data is the first argument of the function, or df in df.llm",
)

_VERBS: Mapping[str, tuple[str, ...]] = _named(
    {
        "complete": "ask chat chat_completion responses response map apply prompt "
        "sem_map predict invoke translate run query_llm completion completions call "
        "transform answer",
        "extract": "sem_extract parse parse_json structured_output "
        "with_structured_output task fillna extract_json infer_schema fill",
        "generate": "explode flat_map sem_flat_map generate_rows flatmap",
        "classify": "label tag categorize predict_label sem_classify sentiment",
        "filter": "sem_filter where select keep",
        "matches": "is_true check sem_match",
        "merge": "sem_join join sem_sim_join fuzzy_merge match link sim_join",
        "agg": "sem_agg aggregate summarize summarise reduce sem_partition_by",
        "nlargest": "sem_topk topk top_k rank sort sort_values sem_sort order_by "
        "nsmallest sem_rank",
        "search": "sem_search similar similarity similarity_search nearest retrieve "
        "sem_index",
        "drop_duplicates": "dedupe dedup deduplicate sem_dedup resolve",
        "ngroup": "cluster sem_cluster_by cluster_by groupby group",
        "embed": "embeddings embedding vectorize encode load_sem_index",
        "estimate": "count_tokens cost tokens estimate_cost",
        "preview": "dry_run show_prompts render",
        "submit": "batch batch_submit create_batch",
        "chunk": "split split_text chunks",
        "report": "stats summary history",
    }
)


def instead_of(
    name: str, value: Any, ours: Collection[str], own: Iterable[str] = ()
) -> str | None:
    """Return what to write in place of another tool's parameter; None if not known.

    A name that is nearly one of a verb's `own` counts too.

    Examples
    --------
    >>> instead_of("max_workers", 8, ["concurrency", "model"])
    'write concurrency=8'
    >>> instead_of("choices", ["a", "b"], ["concurrency", "model"])
    'that is labels= here; classify has them'
    """
    names = [mine for mine in _PARAMETERS.get(name, ()) if mine in ours]
    if names:
        plain = type(value) in (int, float) and value
        return f"write {names[0]}={value if plain else ''}"
    if name in _ADVICE:
        return _ADVICE[name]
    if name in _BODY and "extra" in ours:
        return f"a vendor's own field goes into the body by extra={{{name!r}: …}}"
    for mine in _PARAMETERS.get(name, ()):
        if mine in _ADVICE:
            return f"that is {mine}= here; {_ADVICE[mine]}"
    near = difflib.get_close_matches(name, list(own), n=1, cutoff=0.8)
    return f"did you mean {near[0]}=?" if near else None


def other_verbs() -> frozenset[str]:
    """Return the names that other tools have for our verbs, twins among them."""
    return frozenset(_VERBS) | {f"a{name}" for name in _VERBS}


def verb_instead_of(name: str, ours: Iterable[str]) -> str | None:
    """Return our verb for another tool's, or the nearest in spelling; None for none.

    Examples
    --------
    >>> verb_instead_of("sem_filter", ["filter"]), verb_instead_of("fliter", ["filter"])
    ('filter', 'filter')
    """
    known = list(ours)
    twin = name[:1] == "a" and name not in _VERBS and name[1:] in _VERBS
    for mine in _VERBS.get(name[1:] if twin else name, ()):
        if mine in known:
            return f"a{mine}" if twin and f"a{mine}" in known else mine
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return near[0] if near else None
