-- Who may do what in the database. Run it as its administrator, before the first migration, and again whenever you like:
--
--   psql --set=ON_ERROR_STOP=1 --file=deploy/postgres/roles.sql postgresql://postgres@HOST/tickets
--
-- Three groups that cannot log in:
--   tickets_owner   makes and changes tables. Only the migration: `tickets db upgrade`.
--   tickets_work    reads and writes rows; neither makes nor drops anything. Workers, beats, webhook, metrics, people.
--   tickets_read    reads. KEDA, and whoever looks.
-- Who logs in is a member of one, so that a password changes by a second member; passwords come from your secret store:
--   CREATE ROLE tickets_migrate LOGIN PASSWORD '…' IN ROLE tickets_owner;
--   ALTER ROLE tickets_migrate SET role = 'tickets_owner';    -- what it makes belongs to the group
--   CREATE ROLE tickets_fleet LOGIN PASSWORD '…' IN ROLE tickets_work;
--   CREATE ROLE tickets_keda LOGIN PASSWORD '…' IN ROLE tickets_read CONNECTION LIMIT 5;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tickets_owner', 'tickets_work', 'tickets_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    -- Nobody else is let in; and nobody but the owner makes anything, not even a temporary table.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO tickets_owner, tickets_work, tickets_read', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tickets_owner;
GRANT USAGE ON SCHEMA public TO tickets_work, tickets_read;

-- What is there, and what the owner will make.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tickets_work;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO tickets_work;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tickets_read;
ALTER DEFAULT PRIVILEGES FOR ROLE tickets_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tickets_work;
ALTER DEFAULT PRIVILEGES FOR ROLE tickets_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO tickets_work;
ALTER DEFAULT PRIVILEGES FOR ROLE tickets_owner IN SCHEMA public
    GRANT SELECT ON TABLES TO tickets_read;
