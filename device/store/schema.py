"""The tables of the store, as sqlite-utils migrations; device and trainer share them.

Facts (frames, patches, flags, labels) are append-only rows with content-derived ids, so that two
stores merge by INSERT OR IGNORE. A migration, once released, never changes: add another.
"""

from sqlite_utils import Database, Migrations

migrations = Migrations("millsight")

STAMP = "wall_ns INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL, boot_id TEXT NOT NULL, " \
    "clock_ok INTEGER NOT NULL"  # fmt: skip


@migrations()
def m001_first(db: Database) -> None:
    """Frames, patches, flags, labels, models, and what the loop says of itself."""
    for statement in f"""
        CREATE TABLE frames (      -- a frame of which at least one patch was kept
            id TEXT PRIMARY KEY,   -- SHA-256 of device, boot, monotonic time and sequence
            device TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            {STAMP},
            origin TEXT NOT NULL,  -- file, address or seed it came from
            width INTEGER NOT NULL, height INTEGER NOT NULL,
            recipe TEXT NOT NULL,
            model_id TEXT,         -- NULL: there was no model
            verdict TEXT NOT NULL, -- pass, fail, unsure
            verdict_class TEXT,    -- the class that made it; NULL: none did
            jpeg BLOB              -- the picture, where it is more than its one patch
        ) STRICT;
        CREATE TABLE patches (
            id TEXT PRIMARY KEY,   -- SHA-256 of pixels and place
            device TEXT NOT NULL,
            x INTEGER NOT NULL, y INTEGER NOT NULL,
            width INTEGER NOT NULL, height INTEGER NOT NULL,
            png BLOB NOT NULL,     -- 200 x 200 grey
            truth TEXT             -- the class, where the source knew it (simulator, class folder)
        ) STRICT;
        CREATE TABLE flags (       -- a patch kept for the operator
            id INTEGER PRIMARY KEY,
            patch_id TEXT NOT NULL REFERENCES patches(id),
            frame_id TEXT NOT NULL REFERENCES frames(id),
            cycle INTEGER NOT NULL,
            reason TEXT NOT NULL,  -- uncertain, audit, cold-start
            predicted TEXT,        -- class; NULL: there was no model
            score REAL NOT NULL,   -- KLS in nats; random priority where the reason is not uncertain
            draw_probability REAL, -- of a random draw; NULL: it was no random draw
            log_probabilities TEXT,-- JSON, per class of the model
            UNIQUE (patch_id, cycle, reason)
        ) STRICT;
        CREATE INDEX flags_cycle ON flags (cycle, reason, predicted, score);
        CREATE TABLE labels (      -- answers of operators; the last one of a patch counts
            id TEXT PRIMARY KEY,   -- SHA-256 of patch, answer, operator and time
            patch_id TEXT NOT NULL REFERENCES patches(id),
            answer TEXT NOT NULL,  -- class, something new, can't tell, undone
            class TEXT,            -- where the answer is a class
            operator TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE INDEX labels_patch ON labels (patch_id);
        CREATE TABLE models (
            id TEXT PRIMARY KEY,   -- SHA-256 of the file
            size INTEGER NOT NULL, -- bytes
            metadata TEXT NOT NULL,-- JSON, as in the file
            {STAMP}
        ) STRICT;
        CREATE TABLE baselines (   -- Eq. 4: the average PDC per predicted class
            model_id TEXT NOT NULL REFERENCES models(id),
            class_index INTEGER NOT NULL,
            class TEXT NOT NULL,
            count INTEGER NOT NULL,-- labelled patches behind it
            pdc TEXT,              -- JSON, a probability per class; NULL: no patch, no baseline
            threshold REAL,        -- score above which a patch is unsure; NULL: every patch is
            PRIMARY KEY (model_id, class_index)
        ) STRICT;
        CREATE TABLE activations ( -- the last row is the model in use
            id INTEGER PRIMARY KEY,
            model_id TEXT NOT NULL REFERENCES models(id),
            reason TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE TABLE cycles (      -- the quota of questions begins anew with each
            id INTEGER PRIMARY KEY,
            reason TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE TABLE counters (    -- frames per minute
            minute INTEGER NOT NULL, -- minutes since 1970
            model_id TEXT NOT NULL,  -- '': there was no model
            recipe TEXT NOT NULL,
            verdict TEXT NOT NULL,   -- pass, fail, unsure, fault
            class TEXT NOT NULL,     -- class or name of the fault; '': neither
            frames INTEGER NOT NULL,
            PRIMARY KEY (minute, model_id, recipe, verdict, class)
        ) STRICT;
        CREATE TABLE events (      -- what happened to camera, store and model
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            text TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE TABLE state (       -- the loop's heartbeat
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL    -- JSON
        ) STRICT;
    """.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations()
def m002_review(db: Database) -> None:
    """What the review page needs: leases of questions, taps by their ids, skips.

    A label whose answer is `something new` carries the operator's name for it as its class.
    """
    for statement in (
        """
        CREATE TABLE claims (      -- a question on somebody's screen
            patch_id TEXT PRIMARY KEY REFERENCES patches(id),
            holder TEXT NOT NULL,  -- the page that shows it
            expires_ns INTEGER NOT NULL, -- by the monotonic clock of this boot
            boot_id TEXT NOT NULL  -- a lease of another boot has run out
        ) STRICT
        """,
        """
        CREATE TABLE answers (     -- a tap, by the id its page gave it: stored once
            id TEXT PRIMARY KEY,
            holder TEXT NOT NULL,
            label_id TEXT NOT NULL REFERENCES labels(id),
            undoes TEXT REFERENCES answers(id) -- the tap that this one takes back
        ) STRICT
        """,
        "CREATE INDEX answers_holder ON answers (holder)",
        """
        CREATE TABLE skips (       -- questions that a page put behind the others
            id TEXT PRIMARY KEY,
            holder TEXT NOT NULL,
            patch_id TEXT NOT NULL REFERENCES patches(id)
        ) STRICT
        """,
        "CREATE INDEX skips_holder ON skips (holder)",
    ):
        db.execute(statement)


@migrations()
def m003_shop_floor(db: Database) -> None:
    """Parts and lots, near-identical patches, repeats, people, and what the pages count.

    A `defect` is a further reason of a flag: the picture of a failed frame, asked of nobody.
    """
    for statement in f"""
        CREATE TABLE lots (        -- the last row is the lot in work
            id INTEGER PRIMARY KEY,
            part TEXT NOT NULL,    -- part number; '': none was named
            lot TEXT NOT NULL,     -- '': none was named
            who TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        ALTER TABLE frames ADD COLUMN part TEXT NOT NULL DEFAULT '';
        ALTER TABLE frames ADD COLUMN lot TEXT NOT NULL DEFAULT '';
        -- covering: reading a column behind a picture means reading the picture
        CREATE INDEX frames_wall ON frames
            (wall_ns, id, part, lot, verdict, verdict_class, model_id);
        CREATE INDEX frames_lot ON frames
            (lot, part, verdict, wall_ns, id, verdict_class, model_id);
        CREATE INDEX frames_facts ON frames (id, part, lot, model_id, verdict);
        CREATE INDEX flags_audit ON flags (cycle) WHERE reason = 'audit';
        CREATE INDEX labels_wall ON labels (wall_ns);
        CREATE INDEX labels_new ON labels (class) WHERE answer = 'something new';
        -- what near-identical patches share
        ALTER TABLE patches ADD COLUMN fingerprint BLOB;
        -- the patch that is asked about instead of this near-identical one; NULL: itself
        ALTER TABLE flags ADD COLUMN alike TEXT REFERENCES patches(id);
        CREATE INDEX flags_alike ON flags (alike) WHERE alike IS NOT NULL;
        CREATE INDEX flags_frame ON flags (frame_id, reason, predicted, alike, patch_id);
        -- 1: asked again of somebody else, blind; counts for agreement only
        ALTER TABLE labels ADD COLUMN repeat INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE claims ADD COLUMN repeat INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX labels_repeat ON labels (wall_ns) WHERE repeat = 1;
        -- of one patch, when the model was activated
        ALTER TABLE models ADD COLUMN latency_ms REAL;
        CREATE TABLE counts (      -- frames per minute; `counters` with part and lot
            minute INTEGER NOT NULL, -- minutes since 1970
            model_id TEXT NOT NULL,  -- '': there was no model
            recipe TEXT NOT NULL,
            verdict TEXT NOT NULL,   -- pass, fail, unsure, fault
            class TEXT NOT NULL,     -- class or name of the fault; '': neither
            part TEXT NOT NULL,
            lot TEXT NOT NULL,
            frames INTEGER NOT NULL,
            PRIMARY KEY (minute, model_id, recipe, verdict, class, part, lot)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO counts SELECT minute, model_id, recipe, verdict, class, '', '', frames
            FROM counters;
        DROP TABLE counters;
        ALTER TABLE counts RENAME TO counters;
        CREATE INDEX counters_lot ON counters (lot, part);
        CREATE TABLE scores (      -- patches per hour by their score
            hour INTEGER NOT NULL,   -- hours since 1970
            model_id TEXT NOT NULL,
            class TEXT NOT NULL,     -- the predicted one
            part TEXT NOT NULL,
            bin INTEGER NOT NULL,    -- device.judging.kls.score_bin
            patches INTEGER NOT NULL,
            PRIMARY KEY (hour, model_id, class, part, bin)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE pins (        -- secrets of people, and of the network under ''
            name TEXT PRIMARY KEY,
            hash TEXT NOT NULL       -- argon2id
        ) STRICT;
        CREATE TABLE sessions (    -- browsers that somebody has logged in from
            id TEXT PRIMARY KEY,     -- SHA-256 of the cookie
            name TEXT,               -- NULL: nobody at present
            supervisor INTEGER NOT NULL, -- 1: with the PIN of a supervisor
            network INTEGER NOT NULL,-- 1: the network password was given
            used_ns INTEGER NOT NULL,-- monotonic clock when somebody last did something
            boot_id TEXT NOT NULL
        ) STRICT;
        CREATE TABLE actions (     -- what people did, besides answering questions
            id INTEGER PRIMARY KEY,
            who TEXT NOT NULL,
            action TEXT NOT NULL,    -- logged in, refused, logged out, rolled back, began lot, ...
            subject TEXT NOT NULL,   -- whom or what it was done to
            {STAMP}
        ) STRICT;
        CREATE INDEX actions_subject ON actions (subject, action);
        CREATE INDEX actions_wall ON actions (wall_ns);
        CREATE TABLE settings_in_force ( -- the last row is in force
            id INTEGER PRIMARY KEY,
            digest TEXT NOT NULL,    -- SHA-256 of the text
            toml TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE VIEW audit_trail AS -- who did what, and when
            SELECT wall_ns, clock_ok, operator AS who,
                answer || CASE repeat WHEN 1 THEN ' (asked again)' ELSE '' END AS action,
                coalesce(class || ': ', '') || patch_id AS subject
            FROM labels
            UNION ALL SELECT wall_ns, clock_ok, who, action, subject FROM actions
    """.split(";\n"):  # noqa: S608 - our own words
        db.execute(statement)


@migrations()
def m004_exchange(db: Database) -> None:
    """What a device has sent, and what a trainer has merged; a store may be both."""
    for statement in f"""
        CREATE TABLE batches (     -- device: what went to the exchange
            sequence INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE, -- on the exchange, without its ending
            state TEXT NOT NULL,   -- made, sent, acknowledged, refused
            reason TEXT NOT NULL,  -- why it was refused; '': it was not
            bytes INTEGER NOT NULL,
            labels INTEGER NOT NULL,
            patches INTEGER NOT NULL,
            begin TEXT NOT NULL,   -- JSON: where it begins (device.exchange.collect.Marks)
            {STAMP}
        ) STRICT;
        CREATE TABLE sent_labels ( -- device: the batch that a label went with
            label_id TEXT PRIMARY KEY REFERENCES labels(id),
            batch INTEGER NOT NULL REFERENCES batches(sequence)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX sent_labels_batch ON sent_labels (batch);
        CREATE TABLE merges (      -- trainer: what came of a batch
            name TEXT PRIMARY KEY, -- as in batches
            device TEXT NOT NULL,
            outcome TEXT NOT NULL, -- merged, refused
            reason TEXT NOT NULL,  -- why it was refused; '': it was not
            labels INTEGER NOT NULL, -- in the batch
            new_labels INTEGER NOT NULL, -- of them not known before
            skew_s REAL,           -- clock of the device less that of this machine; NULL: unknown
            {STAMP}
        ) STRICT;
        CREATE INDEX merges_device ON merges (device);
        CREATE TABLE merged_labels ( -- trainer: which device a label came from
            label_id TEXT PRIMARY KEY REFERENCES labels(id),
            device TEXT NOT NULL,
            number INTEGER NOT NULL -- their order on that device
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE fleet_events (-- trainer: what happened on the devices
            id TEXT PRIMARY KEY,   -- SHA-256 of the others
            device TEXT NOT NULL,
            kind TEXT NOT NULL,
            text TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE INDEX fleet_events_wall ON fleet_events (wall_ns);
        CREATE TABLE fleet_activations ( -- trainer: which model was in use where, and why
            id TEXT PRIMARY KEY,   -- SHA-256 of the others
            device TEXT NOT NULL,
            model_id TEXT NOT NULL,
            reason TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE TABLE fleet_counters ( -- trainer: as counters
            device TEXT NOT NULL,
            minute INTEGER NOT NULL,
            model_id TEXT NOT NULL,
            recipe TEXT NOT NULL,
            verdict TEXT NOT NULL,
            class TEXT NOT NULL,
            part TEXT NOT NULL,
            lot TEXT NOT NULL,
            frames INTEGER NOT NULL,
            PRIMARY KEY (device, minute, model_id, recipe, verdict, class, part, lot)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE fleet_scores ( -- trainer: as scores
            device TEXT NOT NULL,
            hour INTEGER NOT NULL,
            model_id TEXT NOT NULL,
            class TEXT NOT NULL,
            part TEXT NOT NULL,
            bin INTEGER NOT NULL,
            patches INTEGER NOT NULL,
            PRIMARY KEY (device, hour, model_id, class, part, bin)
        ) STRICT, WITHOUT ROWID;
    """.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations()
def m005_updates(db: Database) -> None:
    """Models on probation, models that are not taken again, and the time a patch takes."""
    for statement in f"""
        CREATE TABLE probations (  -- a model that is watched because an update brought it
            activation_id INTEGER PRIMARY KEY REFERENCES activations(id),
            model_id TEXT NOT NULL REFERENCES models(id),
            before_id TEXT NOT NULL REFERENCES models(id), -- the model it goes back to
            before TEXT NOT NULL,  -- JSON: what was recorded of that model
            frames INTEGER NOT NULL DEFAULT 0, -- judged so far
            unsure INTEGER NOT NULL DEFAULT 0, -- of them
            seconds REAL NOT NULL DEFAULT 0,   -- of inspection
            judging_s REAL NOT NULL DEFAULT 0, -- spent judging `patches` of them
            patches INTEGER NOT NULL DEFAULT 0,
            mix TEXT NOT NULL DEFAULT '{{}}',    -- JSON: patches per predicted class
            ended TEXT             -- passed, failed; NULL: not by itself
        ) STRICT;
        CREATE TABLE refused (     -- models that are not taken from the exchange
            model_id TEXT PRIMARY KEY,
            reason TEXT NOT NULL,
            {STAMP}
        ) STRICT;
        CREATE TABLE speeds (      -- time in the running loop; old times count less and less
            model_id TEXT PRIMARY KEY REFERENCES models(id),
            patches REAL NOT NULL,
            seconds REAL NOT NULL
        ) STRICT
    """.split(";\n"):
        db.execute(statement)


@migrations()
def m006_nights(db: Database) -> None:
    """What nights did, what models are judged on, and which labels are asked again."""
    for statement in f"""
        CREATE TABLE nights (      -- finished ones, in the trainer's store
            id INTEGER PRIMARY KEY,
            recipe TEXT NOT NULL,
            model_id TEXT NOT NULL,  -- what was trained
            champion_id TEXT,        -- the model in use before; NULL: there was none
            published INTEGER NOT NULL, -- 1: it went out
            classes TEXT NOT NULL,   -- JSON, in the order of the outputs
            labels INTEGER NOT NULL, -- it learnt from
            last_label INTEGER NOT NULL, -- rowid of the last label there was
            inputs TEXT NOT NULL,    -- SHA-256 of all it learnt from and was judged by
            report TEXT NOT NULL,    -- JSON
            {STAMP}
        ) STRICT;
        CREATE INDEX nights_recipe ON nights (recipe);
        CREATE INDEX nights_model ON nights (model_id);
        CREATE TABLE golden (      -- patches that models are judged on; a row never changes but
                                   -- that a later version ends it
            recipe TEXT NOT NULL,
            id TEXT NOT NULL,        -- SHA-256 of the pixels
            class TEXT NOT NULL,
            png BLOB NOT NULL,
            since INTEGER NOT NULL,  -- the first version that has it
            until INTEGER,           -- the first that has it no more
            PRIMARY KEY (recipe, id, since)
        ) STRICT;
        CREATE TABLE second_looks ( -- a label that is asked again while it is the patch's last
            patch_id TEXT NOT NULL REFERENCES patches(id),
            label_id TEXT NOT NULL REFERENCES labels(id),
            reason TEXT NOT NULL,    -- disputed, suspicious, unknown class
            {STAMP},
            PRIMARY KEY (patch_id, label_id)
        ) STRICT
    """.split(";\n"):
        db.execute(statement)


@migrations()
def m007_drift(db: Database) -> None:
    """Blocks of frames, what moved between them, and pictures from before and after."""
    for statement in f"""
        CREATE TABLE drift_blocks ( -- some minutes of judged frames of one part and model
            id INTEGER PRIMARY KEY,
            {STAMP},                  -- when it ended
            recipe TEXT NOT NULL,
            part TEXT NOT NULL,
            model_id TEXT NOT NULL,   -- '': there was no model
            frames INTEGER NOT NULL,
            light REAL NOT NULL,      -- mean logarithms: of the grey mean,
            contrast REAL NOT NULL,   -- of contrast over grey mean,
            sharpness REAL NOT NULL,  -- of sharpness
            scores TEXT NOT NULL,     -- JSON, per class a list of [bin, patches]
            frames_reference INTEGER NOT NULL DEFAULT 0, -- 1: later frames are compared with it
            scores_reference INTEGER NOT NULL DEFAULT 0  -- 1: later scores of its model are
        ) STRICT;
        CREATE INDEX drift_blocks_part ON drift_blocks (recipe, part, id);
        CREATE TABLE drift_pictures ( -- of the last blocks, of references and of alarms
            block INTEGER NOT NULL REFERENCES drift_blocks(id),
            what TEXT NOT NULL,       -- usual: the block's first frame; odd: its highest score
            jpeg BLOB NOT NULL,
            PRIMARY KEY (block, what)
        ) STRICT;
        CREATE TABLE drift_alarms (
            id INTEGER PRIMARY KEY,
            {STAMP},
            recipe TEXT NOT NULL,
            part TEXT NOT NULL,
            model_id TEXT NOT NULL,
            kind TEXT NOT NULL,       -- light, lens, material, new surface
            moved TEXT NOT NULL,      -- JSON, a list of device.drift.detection.Moved
            block INTEGER NOT NULL REFERENCES drift_blocks(id), -- the last one before it
            before TEXT NOT NULL,     -- JSON, blocks with pictures
            after TEXT NOT NULL,      -- JSON, blocks with pictures
            ended_ns INTEGER          -- wall clock; NULL: it lasts
        ) STRICT;
        CREATE TABLE drift_resets (   -- what comes after one is the new reference
            id INTEGER PRIMARY KEY,
            {STAMP},
            recipe TEXT NOT NULL,
            part TEXT,                -- NULL: every part
            block INTEGER NOT NULL,   -- the last one before it
            who TEXT NOT NULL
        ) STRICT
    """.split(";\n"):
        db.execute(statement)


@migrations()
def m008_machine(db: Database) -> None:
    """Parts and their answers; recipes beside that of the settings file, each with its own model.

    In `activations` and `cycles` the recipe of the settings file is '', others go by their name.
    """
    for statement in f"""
        CREATE TABLE parts (       -- triggered parts: exactly one verdict each
            id INTEGER PRIMARY KEY,
            number INTEGER NOT NULL, -- the PLC's, or counted up
            part TEXT NOT NULL,
            lot TEXT NOT NULL,
            tool TEXT NOT NULL,      -- tool life, as the machine told it
            recipe TEXT NOT NULL,
            model_id TEXT NOT NULL,  -- '': there was no model
            verdict TEXT NOT NULL,   -- pass, fail, unsure, fault
            class TEXT NOT NULL,     -- class or fault of the picture; '': neither
            code INTEGER NOT NULL,   -- device.machine.codes; 0: no error
            took_ms REAL NOT NULL,   -- from the trigger to the answer
            {STAMP}                  -- of the trigger
        ) STRICT;
        CREATE INDEX parts_lot ON parts (lot, part);
        CREATE INDEX parts_wall ON parts (wall_ns);
        ALTER TABLE activations ADD COLUMN recipe TEXT NOT NULL DEFAULT '';
        ALTER TABLE cycles ADD COLUMN recipe TEXT NOT NULL DEFAULT '';
        CREATE TABLE recipe_choices ( -- the last row is the recipe in force
            id INTEGER PRIMARY KEY,
            recipe TEXT NOT NULL,
            who TEXT NOT NULL,       -- a person, `plc` or `line`
            {STAMP}
        ) STRICT;
        CREATE TABLE recipe_texts ( -- the last row of a name is what its file held
            id INTEGER PRIMARY KEY,
            recipe TEXT NOT NULL,
            toml TEXT NOT NULL,      -- '': the file was removed
            {STAMP}
        ) STRICT
    """.split(";\n"):
        db.execute(statement)


@migrations()
def m009_retention(db: Database) -> None:
    """Which pictures have gone, and what makes removing rows quick."""
    for statement in f"""
        CREATE TABLE pictures_gone ( -- patches whose answers remain and whose picture does not
            patch_id TEXT PRIMARY KEY REFERENCES patches(id),
            {STAMP}
        ) STRICT, WITHOUT ROWID;
        -- so that the keys which refer to a removed row are found without reading every row
        CREATE INDEX skips_patch ON skips (patch_id);
        CREATE INDEX answers_label ON answers (label_id);
        CREATE INDEX answers_undoes ON answers (undoes) WHERE undoes IS NOT NULL
    """.split(";\n"):
        db.execute(statement)


@migrations()
def m010_platform(db: Database) -> None:
    """Where the time of a part went (`device.store.parts.Split`); the map of a scanned plate."""
    for statement in f"""
        ALTER TABLE parts ADD COLUMN grab_ms REAL;
        ALTER TABLE parts ADD COLUMN prepare_ms REAL;
        ALTER TABLE parts ADD COLUMN infer_ms REAL;
        ALTER TABLE parts ADD COLUMN decide_ms REAL;
        ALTER TABLE parts ADD COLUMN answer_ms REAL;
        CREATE TABLE plates (      -- scanned plates, each with its mosaic
            id INTEGER PRIMARY KEY,
            part TEXT NOT NULL,
            lot TEXT NOT NULL,
            recipe TEXT NOT NULL,
            model_id TEXT NOT NULL,  -- '': there was no model
            verdict TEXT NOT NULL,   -- pass, fail, unsure, fault
            class TEXT NOT NULL,
            x_mm REAL NOT NULL,      -- left edge of the mosaic, on the stage
            y_mm REAL NOT NULL,      -- lower edge
            width_mm REAL NOT NULL,
            height_mm REAL NOT NULL,
            mosaic BLOB NOT NULL,    -- JPEG, grey
            heat BLOB NOT NULL,      -- PNG, grey: what speaks for a defect
            patches TEXT NOT NULL,   -- JSON, a list of device.judging.plate.PlatePatch
            {STAMP}                  -- of the last picture
        ) STRICT;
        CREATE INDEX plates_lot ON plates (lot, part)
    """.split(";\n"):
        db.execute(statement)


@migrations()
def m012_refused_by_recipe(db: Database) -> None:
    """A model is refused for one recipe; another one's channel may hold the same file."""
    statements = f"""
        CREATE TABLE refused_by_recipe ( -- models that are not taken from the exchange
            model_id TEXT NOT NULL,
            recipe TEXT NOT NULL,  -- '' for that of the settings file, else its name
            reason TEXT NOT NULL,
            {STAMP},
            PRIMARY KEY (model_id, recipe)
        ) STRICT;
        INSERT INTO refused_by_recipe
            SELECT model_id, '', reason, wall_ns, monotonic_ns, boot_id, clock_ok FROM refused
            ORDER BY rowid;
        DROP TABLE refused;
        ALTER TABLE refused_by_recipe RENAME TO refused
    """  # noqa: S608 - our own words
    for statement in statements.split(";\n"):
        db.execute(statement)


@migrations()
def m013_int8(db: Database) -> None:
    """Which form of a model judges: int8 where it won the race of its activation.

    `flags.variant` is the form that scored a kept patch; NULL: from before there were two, or there
    was no model.
    """
    for statement in f"""
        CREATE TABLE races (        -- the last row of a model counts
            id INTEGER PRIMARY KEY,
            model_id TEXT NOT NULL,
            variant TEXT NOT NULL,  -- float32, int8
            why TEXT NOT NULL,
            speedup REAL,           -- time of float32 over time of int8; NULL: not raced
            patches INTEGER NOT NULL, -- that both judged
            same REAL,              -- share of them judged alike
            {STAMP}
        ) STRICT;
        CREATE INDEX races_model ON races (model_id);
        ALTER TABLE flags ADD COLUMN variant TEXT
    """.split(";\n"):
        db.execute(statement)
