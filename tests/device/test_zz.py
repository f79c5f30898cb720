from tests.device.test_retention import *
from tests.device.conftest import *


def test_x(filled):
    db = open_store(filled.device.data)
    print(db.execute("SELECT reason,cycle,count(*) FROM flags GROUP BY 1,2").fetchall())
    print(
        db.execute(
            "SELECT f.cycle,count(*) FROM flags f WHERE reason='audit' AND NOT EXISTS (SELECT 1 FROM flags o WHERE o.patch_id=f.patch_id AND o.reason!='audit') GROUP BY 1"
        ).fetchall()
    )
    print(db.execute("SELECT * FROM cycles").fetchall())
    db.close()
