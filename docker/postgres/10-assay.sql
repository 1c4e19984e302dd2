-- Run once, when the database folder is empty. Assay's records get a role and a database of their own: Airflow's role
-- cannot read them, nor Assay's role Airflow's connections.
\set password `cat /run/secrets/assay_database_password`
CREATE ROLE assay LOGIN PASSWORD :'password';
CREATE DATABASE assay OWNER assay;
REVOKE CONNECT ON DATABASE assay FROM PUBLIC;
REVOKE CONNECT ON DATABASE airflow FROM PUBLIC;
