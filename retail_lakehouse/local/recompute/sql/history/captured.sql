CREATE OR REPLACE TEMP TABLE captured AS SELECT unnest(range($count::BIGINT)) AS nr
