"""Ways in which a run can have gone wrong, as statements that damage one that went well, and what is to be counted."""

#: By what it is: the statements, and every subject that is wrong then, and how.
DAMAGES: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "a ticket is gone": (
        """
        DELETE FROM clocks WHERE ticket_id = 'ahead';
        DELETE FROM alarms WHERE ticket_id = 'ahead';
        DELETE FROM events WHERE ticket_id = 'ahead';
        DELETE FROM tickets WHERE id = 'ahead';
        """,
        {("tickets", "lost")},
    ),
    "a ticket is gone, and its history is not": (
        "DELETE FROM tickets WHERE id = 'ahead'",
        {("tickets", "lost"), ("tickets", "unexpected")},
    ),
    "a ticket without the event of its opening": (
        "DELETE FROM events WHERE ticket_id = 'ahead' AND kind = 'created'",
        {("tickets", "lost")},
    ),
    "a ticket that was opened twice": (
        """
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail)
            SELECT ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail FROM events WHERE ticket_id
            = 'ahead' AND kind = 'created';
        """,
        {("tickets", "doubled")},
    ),
    "a ticket that nobody opened": (
        """
        INSERT INTO tickets
            SELECT (jsonb_populate_record(tickets, '{"id": "stray"}')).* FROM tickets WHERE id = 'ahead';
        INSERT INTO clocks
            SELECT (jsonb_populate_record(clocks, '{"ticket_id": "stray"}')).* FROM clocks WHERE ticket_id = 'ahead';
        """,
        {("tickets", "unexpected")},
    ),
    "a ticket with another promise": (
        """
        UPDATE tickets SET sla_hours = 99 WHERE id = 'ahead';
        UPDATE clocks SET due_at = due_at - interval '1 hour' WHERE ticket_id = 'ahead';
        """,
        {("tickets", "unexpected")},
    ),
    "a message that was parked": (
        """
        INSERT INTO parked (fingerprint, name, body, reason, times, parked_at, state)
            VALUES ('f', 'tickets.open_ticket', '{}', 'nobody knows', 1, now(), 'waiting');
        """,
        {("tickets", "unexpected")},
    ),
    "a comment is gone": ("DELETE FROM comments WHERE author = 'ada'", {("comments", "lost")}),
    "a comment without its event": ("DELETE FROM events WHERE kind = 'commented'", {("comments", "lost")}),
    "a comment twice": (
        """
        INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
            SELECT 'other', ticket_id, author, body, is_internal, created_at FROM comments WHERE author = 'ada';
        """,
        {("comments", "doubled")},
    ),
    "a comment told of twice": (
        """
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail)
            SELECT ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail FROM events WHERE kind =
            'commented';
        """,
        {("comments", "doubled")},
    ),
    "a comment that nobody wrote": (
        """
        INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
            SELECT 'x', ticket_id, author, body, is_internal, created_at FROM comments WHERE author = 'ada';
        UPDATE comments SET body = 'Not me.' WHERE id = 'x';
        """,
        {("comments", "unexpected")},
    ),
    "a move that never happened": (
        """
        DELETE FROM events WHERE ticket_id = 'done late' AND new = 'resolved';
        UPDATE tickets SET status = 'in_progress' WHERE id = 'done late';
        """,
        {("status changes", "lost")},
    ),
    "a move that happened twice": (
        """
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail)
            SELECT ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail FROM events WHERE ticket_id
            = 'in time' AND new = 'resolved';
        """,
        {("status changes", "doubled")},
    ),
    "a move that nobody asked for": (
        """
        UPDATE tickets SET status = 'on_hold' WHERE id = 'ahead';
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new)
            VALUES ('ahead', now(), now(), 'status', 'x', 'open', 'on_hold');
        """,
        {("status changes", "unexpected")},
    ),
    "a ticket that stands elsewhere than its moves say": (
        "UPDATE tickets SET status = 'closed' WHERE id = 'in time'",
        {("status changes", "unexpected")},
    ),
    "a breach that nobody saw": (
        """
        DELETE FROM events WHERE ticket_id = 'late' AND kind IN ('breached', 'escalated');
        DELETE FROM comments WHERE ticket_id = 'late' AND author = 'system';
        DELETE FROM outbox WHERE ticket_id = 'late';
        UPDATE tickets SET priority = 3 WHERE id = 'late';
        UPDATE clocks SET state = 'running', breached_at = NULL, detected_at = NULL WHERE ticket_id = 'late';
        """,
        {("breaches", "lost"), ("escalations", "lost"), ("notifications", "unexpected"), ("raises", "lost")},
    ),
    "a breach without its event": (
        "DELETE FROM events WHERE ticket_id = 'late' AND kind = 'breached'",
        {("breaches", "lost")},
    ),
    "a breach on record twice": (
        """
        DROP INDEX events_once;
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail)
            SELECT ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail FROM events WHERE ticket_id
            = 'late' AND kind = 'breached';
        """,
        {("breaches", "doubled")},
    ),
    "a due instant that was moved": (
        "UPDATE clocks SET due_at = due_at + interval '1 second' WHERE ticket_id = 'ahead'",
        {("breaches", "unexpected")},
    ),
    "a breach on record for another moment": (
        "UPDATE events SET at = recorded_at WHERE ticket_id = 'late' AND kind = 'breached'",
        {("breaches", "unexpected")},
    ),
    "a verdict for another moment": (
        "UPDATE clocks SET breached_at = detected_at WHERE ticket_id = 'late'",
        {("breaches", "unexpected")},
    ),
    "a breach that was found before its deadline": (
        "UPDATE clocks SET detected_at = due_at - interval '1 second' WHERE ticket_id = 'late'",
        {("breaches", "unexpected")},
    ),
    "a breach of who was in time": (
        """
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor, key)
            VALUES ('in time', now(), now(), 'breached', 'system', 'in time/resolution/1/breached/0/0');
        """,
        {("breaches", "unexpected")},
    ),
    "a ticket without a clock": ("DELETE FROM clocks WHERE ticket_id = 'ahead'", {("breaches", "lost")}),
    "nobody was called": (
        """
        DELETE FROM events WHERE ticket_id = 'late' AND kind = 'escalated';
        DELETE FROM outbox WHERE ticket_id = 'late';
        """,
        {("escalations", "lost"), ("notifications", "unexpected")},
    ),
    "an escalation twice": (
        """
        DROP INDEX events_once;
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail)
            SELECT ticket_id, at, recorded_at, kind, actor, old, new, note, key, detail FROM events WHERE ticket_id
            = 'late' AND kind = 'escalated';
        """,
        {("escalations", "doubled")},
    ),
    "an escalation without a breach": (
        """
        INSERT INTO events (ticket_id, at, recorded_at, kind, actor)
            VALUES ('ahead', now(), now(), 'escalated', 'system');
        """,
        {("escalations", "unexpected")},
    ),
    "a priority that was not raised": ("UPDATE tickets SET priority = 3 WHERE id = 'late'", {("raises", "lost")}),
    "a priority that was raised twice": ("UPDATE tickets SET priority = 1 WHERE id = 'late'", {("raises", "doubled")}),
    "an escalation without its comment": (
        "DELETE FROM comments WHERE ticket_id = 'late' AND author = 'system'",
        {("raises", "lost")},
    ),
    "two comments of one escalation": (
        """
        INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
            SELECT 'o', ticket_id, author, body, is_internal, created_at FROM comments WHERE ticket_id = 'late' AND
            author = 'system';
        """,
        {("raises", "doubled")},
    ),
    "an escalation without its row in the outbox": (
        "DELETE FROM outbox WHERE ticket_id = 'late'",
        {("notifications", "lost"), ("notifications", "unexpected")},
    ),
    "a row in the outbox without its escalation": (
        """
        INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, destination)
            VALUES ('ahead/resolution/1/escalated/1/0/mail', 'escalated', 'ahead', 'uncertain', 1, now(), 'mail');
        """,
        {("notifications", "unexpected")},
    ),
    "a notice that still waits": (
        "UPDATE outbox SET state = 'pending' WHERE ticket_id = 'late'",
        {("notifications", "unexpected")},
    ),
    "a notice in a bundle that is not there": (
        "UPDATE outbox SET state = 'bundled', bundle_id = 999 WHERE ticket_id = 'late'",
        {("notifications", "doubled"), ("notifications", "lost")},
    ),
    "a ticket that is no fact of the ledger": (
        "DELETE FROM usage_facts WHERE key = 'ticket_opened/late/1'",
        {("bills", "doubled"), ("bills", "lost"), ("bills", "unexpected")},
    ),
    "a fact twice": (
        """
        INSERT INTO usage_facts (key, kind, ticket_id, customer, occurred_at, recorded_at, quantity, route)
            SELECT 'again', kind, ticket_id, customer, occurred_at, recorded_at, quantity, route FROM usage_facts
            WHERE key = 'critical_ticket/second/1';
        """,
        {("bills", "doubled")},
    ),
    "a fact of nothing": (
        """
        INSERT INTO usage_facts (key, kind, ticket_id, customer, occurred_at, recorded_at, quantity, route)
            SELECT 'again', kind, ticket_id, customer, occurred_at, recorded_at, quantity, route FROM usage_facts
            WHERE key = 'critical_ticket/second/1';
        UPDATE usage_facts SET ticket_id = 'ahead' WHERE key = 'again';
        """,
        {("bills", "unexpected")},
    ),
    "a fact in no batch": (
        "UPDATE usage_facts SET batch_id = NULL WHERE key = 'critical_ticket/critical/1'",
        {("bills", "doubled"), ("bills", "lost"), ("bills", "unexpected")},
    ),
    "a delivery that is not done with": ("UPDATE usage_deliveries SET state = 'sending'", {("bills", "unexpected")}),
    "a report that was not made": (
        """
        DELETE FROM report_deliveries;
        DELETE FROM report_runs;
        """,
        {("digests", "lost"), ("digests", "unexpected")},
    ),
    "a report that was missed": (
        "UPDATE report_runs SET state = 'missed', error = 'too late'",
        {("digests", "lost"), ("digests", "unexpected")},
    ),
    "a report twice": (
        """
        ALTER TABLE report_runs DROP CONSTRAINT report_runs_once;
        INSERT INTO report_runs (organisation, kind, sent_on, zone, hour, due_at, state, attempts, made_at)
            SELECT organisation, kind, sent_on, zone, hour, due_at, 'empty', attempts, made_at FROM report_runs
            WHERE true;
        INSERT INTO report_deliveries (run_id, key, address, state, due_at, attempts, answer)
            SELECT (SELECT max(id) FROM report_runs), key, address, state, due_at, attempts, answer FROM
            report_deliveries;
        """,
        {("digests", "doubled")},
    ),
    "a report that was not due": (
        """
        INSERT INTO report_runs (organisation, kind, sent_on, zone, hour, due_at, state, attempts)
            VALUES ('acme', 'daily', '2026-01-01', 'UTC', 9, now(), 'empty', 1);
        """,
        {("digests", "unexpected")},
    ),
    "a reader who was forgotten": (
        "DELETE FROM report_deliveries WHERE key = 'bob@example.org'",
        {("digests", "lost"), ("digests", "unexpected")},
    ),
    "a reader whose report failed": (
        "UPDATE report_deliveries SET state = 'failed' WHERE key = 'bob@example.org'",
        {("digests", "unexpected")},
    ),
    "a plan that was not taken over": ("UPDATE customers SET plan = NULL", {("plans", "lost")}),
    "an event of theirs that was given up": (
        """
        INSERT INTO stripe_events (id, form, type, livemode, received_at, body, state)
            VALUES ('evt_1', 'snapshot', 'customer.updated', false, now(), '{}', 'dead');
        """,
        {("plans", "unexpected")},
    ),
}
