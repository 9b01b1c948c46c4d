"""Redshift's functions by name, for the rules: which exist, which run on the leader node only.

Here: names as the Database Developer Guide lists them ("SQL functions reference", "Leader
node-only functions"). Not here: what a rule does with them (`rules.py`).
"""

LEADER_NODE_ONLY = frozenset(
    [
        "age",
        "current_time",
        "current_timestamp",
        "localtime",
        "isfinite",
        "now",
        "ascii",
        "get_bit",
        "get_byte",
        "set_bit",
        "set_byte",
        "to_ascii",
        "array_to_string",
        "array_upper",
        "array_lower",
        "generate_series",
        "current_schema",
        "current_schemas",
        "has_database_privilege",
        "has_schema_privilege",
        "has_table_privilege",
        "has_assumerole_privilege",
        "pg_backend_pid",
        "pg_get_viewdef",
        "pg_get_userbyid",
        "pg_last_copy_id",
        "pg_last_query_id",
        "pg_last_unload_id",
        "pg_terminate_backend",
        "pg_cancel_backend",
        "show_external_table",
        "obj_description",
        "to_regclass",
        "inet_client_addr",
    ]
)

AGGREGATES = frozenset(
    [
        "any_value",
        "avg",
        "bit_and",
        "bit_or",
        "bool_and",
        "bool_or",
        "count",
        "listagg",
        "max",
        "median",
        "min",
        "percentile_cont",
        "percentile_disc",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "sum",
        "var_pop",
        "var_samp",
        "variance",
        "hll",
        "hll_create_sketch",
        "hll_combine",
    ]
)

_WINDOW = """
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank
    ratio_to_report row_number
"""
_CONDITIONAL = "coalesce decode greatest least nullif nvl nvl2 case if"
_DATE_TIME = """
    add_months convert_timezone current_date date date_cmp date_cmp_timestamp date_part
    date_part_year date_trunc dateadd datediff extract getdate interval_cmp last_day
    months_between next_day sysdate timeofday timestamp_cmp timestamp_cmp_date timezone
    to_timestamp trunc
"""
_MATH = """
    abs acos asin atan atan2 cbrt ceil ceiling checksum cos cot degrees dexp dlog1 dlog10 exp
    floor ln log log10 mod pi power pow radians random rand round sign sin sqrt tan
"""
_STRING = """
    bpcharcmp btrim bttext_pattern_cmp char_length character_length charindex chr collate concat
    crc32 difference initcap left right len length lower lpad rpad ltrim octetindex octet_length
    position quote_ident quote_literal regexp_count regexp_instr regexp_replace regexp_substr
    repeat replace replicate reverse rtrim soundex split_part strpos strtol substring substr
    textlen translate trim upper
"""
_OTHER = """
    cast convert try_cast to_char to_date to_number text_to_int_alt text_to_numeric_alt
    json_array_length json_extract_array_element_text json_extract_path_text json_parse
    json_serialize json_typeof is_valid_json is_valid_json_array can_json_parse
    get_array_length array array_concat array_flatten split_to_array subarray is_array is_object
    fnv_hash func_sha1 md5 sha sha1 sha2 murmur3_32_hash farmhash64 strtol
    from_hex to_hex from_varbyte to_varbyte varbyte_to_int
    current_aws_account current_database current_namespace current_session_arn current_setting
    current_user current_user_id session_user slice_num user user_is_member_of version
    object object_transform grouping grouping_id
"""
# What may stand before an opening parenthesis without being a function.
_SYNTAX = """
    all and any approximate as between bigint binary bpchar by char character compound decimal
    default distinct distkey else except exists filter float from group having in inner insert
    int integer intersect interval into is join key like limit minus not nvarchar nchar numeric
    offset on or order over partition precision primary references real select set sets rollup
    cube similar smallint some sortkey super table then time timestamp timestamptz timetz to
    union unique unnest update using values varbinary varbyte varchar varying when where with
    within without group_concat qualify escape ilike end bool boolean unknown top
"""

KNOWN = (
    frozenset(
        " ".join((_WINDOW, _CONDITIONAL, _DATE_TIME, _MATH, _STRING, _OTHER, _SYNTAX)).split()
    )
    | AGGREGATES
    | LEADER_NODE_ONLY
)

MUTABLE = frozenset(
    [
        "getdate",
        "sysdate",
        "current_date",
        "current_time",
        "current_timestamp",
        "now",
        "timeofday",
        "random",
        "rand",
        "localtime",
        "current_user",
        "session_user",
        "current_user_id",
        "user",
        "current_setting",
    ]
)
