INSERT INTO users (id, username, password_hash, scope, created_at, disabled_at) VALUES ('gIklRas3kYdLqgIMElRIgA', 'alice', '$argon2id$v=19$m=19456,t=2,p=1$61xUWPJ/0CjgJsQL6ghW4A$Z9Mx0SmbtMISxZxaO1BWfQ03lNNFhr2y4VT1u1HztbY', 'read write', 1800000000, NULL);
INSERT INTO sessions (id, user_id, client_id, scope, created_at, expires_at, revoked_at, revoked_why) VALUES ('session-one', 'gIklRas3kYdLqgIMElRIgA', 'portcullis', 'read write', 1800000000, 1800010000, NULL, NULL);
INSERT INTO sessions (id, user_id, client_id, scope, created_at, expires_at, revoked_at, revoked_why) VALUES ('session-over', 'gIklRas3kYdLqgIMElRIgA', 'portcullis', 'read write', 1800000000, 1800010000, 1800000030, 'logout');
INSERT INTO refresh_tokens (hash, session_id, created_at, spent_at) VALUES ('EIiGTLcFaV38jCNdWrl45G6pPmRAUYaS0oRkIlkCy7Y', 'session-one', 1800000000, NULL);
INSERT INTO refresh_tokens (hash, session_id, created_at, spent_at) VALUES ('spent-cFaV38jCNdWrl45G6pPmRAUYaS0oRkIlkCy7Y', 'session-one', 1800000000, 1800000000);
INSERT INTO outbox (id, commands, created_at) VALUES ('row-one', '[["SET","pc:revoked:sid:agaqoXv0Xm1cjnXYzj04W85ybpWmXJ0uywG4muYhUDs","1800000030","EX","86760"]]', 1800000030);
