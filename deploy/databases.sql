-- Beside Dagster's own database, which the image makes: the reply ledger's, which is never thrown away with the other.
CREATE DATABASE ledger;
