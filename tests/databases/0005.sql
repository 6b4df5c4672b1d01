BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE attempts (
	tag TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	PRIMARY KEY (tag, message_id), 
	FOREIGN KEY(tag) REFERENCES jobs (tag) ON DELETE CASCADE, 
	FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE CASCADE
);
INSERT INTO "attempts" VALUES('01m8n3a19xxad0tswddp','01m8n3a18es6t0qzd2cq');
INSERT INTO "attempts" VALUES('01m8n3a27576vw2vexkn','01m8n3a18es6t0qzd2cq');
INSERT INTO "attempts" VALUES('01m8n3a3mv7fx5veemch','01m8n3a18es6t0qzd2cq');
CREATE TABLE calendars (
	"key" TEXT NOT NULL, 
	fetched_at BIGINT NOT NULL, 
	events TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE calls (
	message_id TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	due_at BIGINT NOT NULL, 
	identifier TEXT, 
	called_at BIGINT, 
	finished_at BIGINT, 
	detail TEXT, 
	PRIMARY KEY (message_id), 
	FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE CASCADE
);
INSERT INTO "calls" VALUES('01m8n3a18es6t0qzd2cq','unanswered',1,1798243200000000,'call-1',1798243200000000,1798243240000000,'not answered (NoAnswer)');
CREATE TABLE events (
	id TEXT NOT NULL, 
	incident_id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	"by" TEXT, 
	via TEXT, 
	detail TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(incident_id) REFERENCES incidents (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES('01m8n3a1973kgp5vrky7','01m8n3a18eaxk5q8066p',1796004447527751,'opened',NULL,NULL,NULL);
CREATE TABLE fallback_attempts (
	id TEXT NOT NULL, 
	fallback_id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	error TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(fallback_id) REFERENCES fallbacks (id) ON DELETE CASCADE
);
CREATE TABLE fallbacks (
	id TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	target TEXT NOT NULL, 
	service TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	finished_at BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE CASCADE
);
CREATE TABLE incident_alerts (
	alert TEXT NOT NULL, 
	incident_id TEXT NOT NULL, 
	PRIMARY KEY (alert, incident_id), 
	FOREIGN KEY(incident_id) REFERENCES incidents (id) ON DELETE CASCADE
);
INSERT INTO "incident_alerts" VALUES('e734ff43ebe30f98','01m8n3a18eaxk5q8066p');
CREATE TABLE incidents (
	id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	receiver TEXT NOT NULL, 
	group_key TEXT NOT NULL, 
	state TEXT NOT NULL, 
	title TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	alerts TEXT NOT NULL, 
	firing TEXT DEFAULT '' NOT NULL, 
	webhook_id TEXT, 
	opened_at BIGINT NOT NULL, 
	began_at BIGINT, 
	severity TEXT DEFAULT '' NOT NULL, 
	muted_by TEXT DEFAULT '' NOT NULL, 
	muted_until BIGINT, 
	step INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	steps_taken INTEGER NOT NULL, 
	due_at BIGINT, 
	unmute_at BIGINT, 
	acknowledged_by TEXT, 
	acknowledged_via TEXT, 
	acknowledged_at BIGINT, 
	resolved_at BIGINT, 
	version INTEGER NOT NULL, silenced_by TEXT DEFAULT '' NOT NULL, silence_comment TEXT DEFAULT '' NOT NULL, silenced_until BIGINT, silence_seen_at BIGINT, silence_notified_at BIGINT, released_at BIGINT, listed TEXT DEFAULT '' NOT NULL, listed_by TEXT DEFAULT '' NOT NULL, listed_at BIGINT, gone_since BIGINT, is_step_requested BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "incidents" VALUES('01m8n3a18eaxk5q8066p',1,'ops','a','open','InstanceDown db-1','{}','e734ff43ebe30f98','e734ff43ebe30f98','01m8n3a17xtq2hcxmbpc',1796004447502127,1795349610000000,'critical','',NULL,1,0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'','',NULL,NULL,0);
CREATE TABLE jobs (
	tag TEXT NOT NULL, 
	state TEXT NOT NULL, 
	text TEXT NOT NULL, 
	attempted_at BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	settle_attempts INTEGER NOT NULL, 
	listing_grace BIGINT NOT NULL, 
	error TEXT, 
	query_id TEXT, 
	owner TEXT, 
	answered_at BIGINT, 
	account TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (tag)
);
INSERT INTO "jobs" VALUES('01m8n3a19xxad0tswddp','done','FIRING #1 critical InstanceDown db-1 since 22 Nov 12:13',1796004447549256,1796004447549256,0,0,'network: Plain(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused',NULL,'01m8n39vw0p2bsje5yqs',1796004447585873,'');
INSERT INTO "jobs" VALUES('01m8n3a27576vw2vexkn','done','FIRING #1 critical InstanceDown db-1 since 22 Nov 12:13',1796004448485847,1796004448485847,0,0,'network: Plain(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused',NULL,'01m8n39vw0p2bsje5yqs',1796004448813929,'');
INSERT INTO "jobs" VALUES('01m8n3a3mv7fx5veemch','done','FIRING #1 critical InstanceDown db-1 since 22 Nov 12:13',1796004449947163,1796004449947163,0,0,'network: Plain(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused',NULL,'01m8n39vw0p2bsje5yqs',1796004450135770,'');
CREATE TABLE last_webhooks (
	scope BLOB NOT NULL, 
	identity BLOB NOT NULL, 
	received_at BIGINT NOT NULL, 
	PRIMARY KEY (scope)
);
CREATE TABLE links (
	hash TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (hash), 
	FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE CASCADE
);
INSERT INTO "links" VALUES('2e6e15a38c6fe8b624fca13be00a737947a8096fd5620795696b5b63cd7feea4','01m8n3a18es6t0qzd2cq',1798243200000000);
CREATE TABLE messages (
	id TEXT NOT NULL, 
	notification_id TEXT, 
	incident_id TEXT, 
	kind TEXT DEFAULT 'page' NOT NULL, 
	step INTEGER, 
	urgency INTEGER DEFAULT '2' NOT NULL, 
	digest_entry TEXT, 
	merged_into TEXT, 
	receipt INTEGER, 
	ptt INTEGER, 
	delivered_at BIGINT, 
	receipt_due_at BIGINT, 
	receipt_at BIGINT, 
	receiver TEXT NOT NULL, 
	contact TEXT NOT NULL, 
	phone TEXT NOT NULL, 
	text TEXT NOT NULL, 
	parts INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	received_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	sent_at BIGINT, 
	expires_at BIGINT NOT NULL, 
	attempts INTEGER NOT NULL, 
	tag TEXT, 
	ovh_id BIGINT, 
	error TEXT, 
	refused_by TEXT, 
	held_for TEXT, 
	reduction INTEGER DEFAULT '0' NOT NULL, 
	finished_at BIGINT, 
	credits FLOAT, 
	author TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(notification_id) REFERENCES notifications (id) ON DELETE CASCADE, 
	FOREIGN KEY(tag) REFERENCES jobs (tag)
);
INSERT INTO "messages" VALUES('01m8n3a18es6t0qzd2cq','01m8n3a18egrsbzm2avk','01m8n3a18eaxk5q8066p','page',1,0,'["firing", [["InstanceDown", "critical", 1]]]',NULL,NULL,NULL,NULL,NULL,NULL,'ops','alice','+33639980001','FIRING #1 critical InstanceDown db-1 since 22 Nov 12:13',1,'queued',1796004447485582,1796004447527751,1796004453372913,NULL,1827540447485582,3,NULL,NULL,'network: Plain(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused',NULL,NULL,0,NULL,NULL,NULL);
CREATE TABLE notifications (
	id TEXT NOT NULL, 
	webhook_id TEXT NOT NULL, 
	receiver TEXT NOT NULL, 
	status TEXT NOT NULL, 
	group_key TEXT NOT NULL, 
	alerts INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	incident_id TEXT, 
	muted_by TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
);
INSERT INTO "notifications" VALUES('01m8n3a18egrsbzm2avk','01m8n3a17xtq2hcxmbpc','ops','firing','a',1,1796004447527751,'01m8n3a18eaxk5q8066p',NULL);
CREATE TABLE reloads (
	id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	"by" TEXT, 
	problem TEXT, 
	PRIMARY KEY (id)
);
CREATE TABLE replicas (
	id TEXT NOT NULL, 
	beats BIGINT NOT NULL, 
	seen_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE replies (
	account TEXT DEFAULT '' NOT NULL, 
	id BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	phone TEXT NOT NULL, 
	contact TEXT, 
	text TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	PRIMARY KEY (account, id)
);
CREATE TABLE timestamps (
	name TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "timestamps" VALUES('alive',1796004447250176);
CREATE TABLE webhooks (
	id TEXT NOT NULL, 
	identity BLOB NOT NULL, 
	received_at BIGINT NOT NULL, 
	posted_to TEXT, 
	body BLOB NOT NULL, 
	planned_at BIGINT, 
	group_hash BIGINT, 
	taken_by TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "webhooks" VALUES('01m8n3a17xtq2hcxmbpc',X'F264BBFC157CCF93838D1AD07C200A442B26838A4D8FAA9C',1796004447485582,NULL,X'7B227265636569766572223A20226F7073222C2022737461747573223A2022666972696E67222C202267726F75704B6579223A202261222C202267726F75704C6162656C73223A207B7D2C2022636F6D6D6F6E4C6162656C73223A207B7D2C2022636F6D6D6F6E416E6E6F746174696F6E73223A207B7D2C202265787465726E616C55524C223A2022222C202276657273696F6E223A202234222C20227472756E6361746564416C65727473223A20302C2022616C65727473223A205B7B22737461747573223A2022666972696E67222C20226C6162656C73223A207B22616C6572746E616D65223A2022496E7374616E6365446F776E222C2022696E7374616E6365223A202264622D31222C20227365766572697479223A2022637269746963616C227D2C2022616E6E6F746174696F6E73223A207B7D2C20227374617274734174223A2022323032362D31312D32325431323A31333A33305A222C2022656E64734174223A2022303030312D30312D30315430303A30303A30305A222C202267656E657261746F7255524C223A2022222C202266696E6765727072696E74223A202235303963393237613135613137636634227D5D7D',1796004447527751,4681665781835383343,NULL);
CREATE INDEX incidents_due ON incidents (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX incidents_group ON incidents (group_key) WHERE state != 'resolved';
CREATE UNIQUE INDEX incidents_numbers ON incidents (number) WHERE state != 'resolved';
CREATE UNIQUE INDEX incidents_open ON incidents (receiver, group_key) WHERE state != 'resolved';
CREATE INDEX incidents_resolved ON incidents (resolved_at) WHERE resolved_at IS NOT NULL;
CREATE INDEX incidents_unmute ON incidents (unmute_at) WHERE unmute_at IS NOT NULL;
CREATE INDEX jobs_open ON jobs (due_at) WHERE state != 'done';
CREATE INDEX ix_last_webhooks_received_at ON last_webhooks (received_at);
CREATE INDEX ix_replies_at ON replies (at);
CREATE INDEX webhooks_group ON webhooks (group_hash, id) WHERE planned_at IS NULL;
CREATE INDEX webhooks_unplanned ON webhooks (id) WHERE planned_at IS NULL;
CREATE INDEX ix_events_incident_id ON events (incident_id);
CREATE INDEX ix_incident_alerts_incident_id ON incident_alerts (incident_id);
CREATE INDEX ix_notifications_incident_id ON notifications (incident_id);
CREATE INDEX ix_notifications_webhook_id ON notifications (webhook_id);
CREATE INDEX ix_messages_incident_id ON messages (incident_id);
CREATE INDEX ix_messages_notification_id ON messages (notification_id);
CREATE INDEX ix_messages_tag ON messages (tag);
CREATE INDEX messages_merged ON messages (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX messages_ovh_id ON messages (ovh_id) WHERE ovh_id IS NOT NULL;
CREATE INDEX messages_phone ON messages (phone, sent_at);
CREATE INDEX messages_queued ON messages (due_at, id) WHERE state IN ('queued', 'held');
CREATE INDEX messages_receipts ON messages (receipt_due_at) WHERE receipt_due_at IS NOT NULL;
CREATE INDEX messages_sent ON messages (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX messages_under_way ON messages (state, received_at) WHERE state IN ('queued', 'held', 'sending', 'unsettled');
CREATE INDEX messages_waiting ON messages (phone) WHERE state IN ('queued', 'held');
CREATE INDEX ix_attempts_message_id ON attempts (message_id);
CREATE UNIQUE INDEX fallbacks_message ON fallbacks (message_id, target);
CREATE INDEX fallbacks_due ON fallbacks (due_at) WHERE state = 'waiting';
CREATE INDEX ix_fallback_attempts_fallback_id ON fallback_attempts (fallback_id);
CREATE INDEX messages_failed ON messages (id) WHERE state IN ('rejected', 'expired', 'undelivered');
CREATE INDEX ix_links_message_id ON links (message_id);
CREATE INDEX calls_due ON calls (due_at) WHERE state IN ('waiting', 'calling');
COMMIT;
