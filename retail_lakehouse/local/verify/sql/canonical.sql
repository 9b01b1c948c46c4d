-- The canonical form of contracts/canonical.py, written a second time on purpose: what verifies
-- the tables must share no code with what wrote them.
CREATE MACRO canonical_string(value) AS coalesce(length(value) || ':' || value, '~');
CREATE MACRO canonical_integer(value) AS coalesce(CAST(value AS VARCHAR), '~');
-- A DECIMAL prints all digits of its scale, and has no negative zero.
CREATE MACRO canonical_decimal(value) AS coalesce(CAST(value AS VARCHAR), '~');
-- MD5 is read big-endian; a half of it fits an unsigned 64-bit integer.
CREATE MACRO hash_high(digest) AS CAST('0x' || substr(digest, 1, 16) AS UBIGINT);
CREATE MACRO hash_low(digest) AS CAST('0x' || substr(digest, 17, 16) AS UBIGINT);
-- Content times place, as ledger_totals.coordinate_sum has it; both factors are below 2^32.
CREATE MACRO placed(low, partition_id, offset_in_partition) AS
    (low & 4294967295)
    * CAST((offset_in_partition * 1024 + partition_id) % 2147483648 AS UBIGINT);
