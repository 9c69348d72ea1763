"""Trial: teams that write scripts by autogenerate over many rounds. python trial_teams.py URLKIND SEED0 SEED1"""
import copy, random, shutil, sys, tempfile, traceback
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
import sqlalchemy as sa
from apps import Workshop

PACK = ("alpha", "beta", "gamma")
TYPES = {"n": ["sa.Integer", "sa.BigInteger", "sa.SmallInteger"], "t": ["sa.String(20)", "sa.String(40)", "sa.Text"], "e": ["sa.Enum('a','b',name='{p}_state')"], "m": ["sa.Numeric(10,2)", "sa.Numeric(12,3)"]}

class Team:
    def __init__(self, seed, names, independent):
        self.r = random.Random(seed); self.names = names; self.tables = {}; self.count = 0
        self.independent = independent   # may refer upwards too
    def fresh(self, p):
        self.count += 1; return f"{p}{self.count}"
    def targets(self, pkg):
        out = []
        for t, d in self.tables.items():
            if not self.independent and PACK.index(d["pkg"]) > PACK.index(pkg): continue
            out.append((t, "id"))
            for c, col in d["cols"].items():
                if col.get("unique") and col["kind"] in "nt": out.append((t, c))
        return out
    def column(self, pkg, table=None):
        r = self.r; kind = r.choice("nntem")
        col = {"kind": kind, "type": r.choice(TYPES[kind]), "nullable": r.random() < .6, "index": r.random() < .3, "unique": r.random() < .25 and kind in "nt", "default": None, "fk": None}
        if col["type"] == "sa.Text": col["unique"] = col["index"] = False
        if r.random() < .35 and (ts := self.targets(pkg)):
            t, c = r.choice(ts); tt = self.tables[t]["cols"].get(c)
            col.update(kind="f", type=(tt or {"type": self.tables[t]["idtype"]})["type"], fk=(t, c), nullable=True, unique=False, default=None, ondelete=r.choice([None, "CASCADE", "SET NULL"]))
        return col
    def mutate(self, pkg):
        r = self.r; mine = [t for t, d in self.tables.items() if d["pkg"] == pkg]
        for _ in range(r.randint(1, 3)):
            k = r.random()
            if k < .25 or not mine:
                t = self.fresh(pkg[0] + "_t"); self.tables[t] = {"pkg": pkg, "idtype": r.choice(["sa.Integer", "sa.BigInteger"]), "cols": {}, "checks": {}}
                for _ in range(r.randint(1, 3)): self.tables[t]["cols"][self.fresh("c")] = self.column(pkg)
                mine.append(t)
            elif k < .5 and len(mine) > 1:
                t = r.choice(mine); self.drop_refs(t, None); del self.tables[t]; mine.remove(t)
            elif k < .65:
                t = r.choice(mine); self.tables[t]["cols"][self.fresh("c")] = self.column(pkg)
            elif k < .8:
                t = r.choice(mine); cols = self.tables[t]["cols"]
                if cols:
                    c = r.choice(list(cols)); self.drop_refs(t, c); del cols[c]
            elif k < .9:
                t = r.choice(mine); cols = [c for c, v in self.tables[t]["cols"].items() if v["kind"] in "nm"]
                if cols: 
                    c = r.choice(cols); v = self.tables[t]["cols"][c]; v["type"] = r.choice(TYPES[v["kind"]]); self.follow(t, c, v["type"])
            else:
                t = r.choice(mine); cols = [c for c, v in self.tables[t]["cols"].items() if not v["fk"]]
                if cols:
                    v = self.tables[t]["cols"][r.choice(cols)]; v["nullable"] = not v["nullable"]
                    if v["type"] != "sa.Text": v["index"] = not v["index"]
    def follow(self, t, c, type_):
        for t2, d in self.tables.items():
            for c2, v in d["cols"].items():
                if v["fk"] == (t, c): v["type"] = type_; 
    def drop_refs(self, t, c):
        for d in self.tables.values():
            for v in d["cols"].values():
                if v["fk"] and v["fk"][0] == t and (c is None or v["fk"][1] == c): v["fk"] = None; v["kind"] = "x"
    def source(self, pkg):
        s = "import sqlalchemy as sa\nmetadata = sa.MetaData(naming_convention={'ix':'ix_%(table_name)s_%(column_0_N_name)s','uq':'uq_%(table_name)s_%(column_0_N_name)s','fk':'fk_%(table_name)s_%(column_0_N_name)s','pk':'pk_%(table_name)s'})\n"
        for t, d in self.tables.items():
            if d["pkg"] != pkg: continue
            items = [repr(t), "metadata", f"sa.Column('id', {d['idtype']}, primary_key=True)"]
            for c, v in d["cols"].items():
                a = [repr(c), v["type"].format(p=pkg)]
                if v["fk"]: a.append(f"sa.ForeignKey('{v['fk'][0]}.{v['fk'][1]}', ondelete={v.get('ondelete')!r})")
                a.append(f"nullable={v['nullable']}")
                if v["unique"]: a.append("unique=True")
                elif v["index"]: a.append("index=True")
                items.append(f"sa.Column({', '.join(a)})")
            s += f"sa.Table({', '.join(items)})\n"
        return s

def trial(seed, make, drop):
    independent = seed % 3 == 2
    root = Path(tempfile.mkdtemp(prefix="trial-")); sys.path.insert(0, str(root)); w = Workshop(root)
    names = {p: f"{p}{seed}" for p in PACK}
    for p in PACK: w.package(names[p], "", metadata=f"{names[p]}.models.metadata")
    team = Team(seed, names, independent); urls = [make()]; r = team.r; copies = []
    def write():
        w.forget()
        for p in PACK: (root / names[p] / "models.py").write_text(team.source(p))
    def service(url, *only): return w.service(url, *only)
    try:
        for rnd in range(8):
            what = r.sample(PACK, r.choice([1, 1, 2, 3]))
            before = copy.deepcopy(team.tables), team.count
            for p in what: team.mutate(p)
            write(); s = service(urls[0])
            # a change of one package may follow in others (types of keys)
            try:
                s.revision(f"round {rnd}", autogenerate=True, allow_drops=True, prove=r.choice(["off", "on"]) if False else "off")
            except Exception as exc:
                print(f"seed {seed} round {rnd}: REVISION {type(exc).__name__}: {str(exc)[:600]}"); return False
            s.upgrade()
            probs = [p.message for p in s.check().problems]
            if probs: print(f"seed {seed} round {rnd}: CHECK {probs}"); return False
            if rnd in (1, 3):
                u = make(); urls.append(u); w.forget(); service(u).upgrade()
        w.forget(); s = service(urls[0])
        fresh = make(); urls.append(fresh)
        for u in urls[1:]:
            w.forget(); s2 = service(u)
            try: s2.upgrade()
            except Exception as exc: print(f"seed {seed}: UPGRADE of {'fresh' if u == fresh else 'older'} {type(exc).__name__}: {str(exc)[:600]}"); return False
            probs = [p.message for p in s2.check().problems]
            if probs: print(f"seed {seed}: CHECK of {'fresh' if u==fresh else 'older'} {probs}"); return False
        # application of the lower package alone
        if not independent:
            for only in (["alpha"], ["alpha", "beta"]):
                w.forget(); u = make(); urls.append(u)
                s3 = service(u, *[names[p] for p in only])
                try: s3.upgrade()
                except Exception as exc: print(f"seed {seed}: ALONE {only} {type(exc).__name__}: {str(exc)[:500]}"); continue
                probs = [p.message for p in s3.check().problems]
                if probs: print(f"seed {seed}: ALONE CHECK {only} {probs}")
        # one package after another on a fresh database
        w.forget(); u = make(); urls.append(u); s4 = service(u)
        order = list(PACK); r.shuffle(order)
        for p in order:
            try: s4.upgrade(packages=[names[p]])
            except Exception as exc: print(f"seed {seed}: ONE BY ONE {order} {p} {type(exc).__name__}: {str(exc)[:500]}"); return False
        probs = [p.message for p in s4.check().problems]
        if probs: print(f"seed {seed}: ONE BY ONE CHECK {probs}"); return False
        try: s4.downgrade([f"{names[p]}@base" for p in PACK], cascade=True)
        except Exception as exc: print(f"seed {seed}: DOWN {type(exc).__name__}: {str(exc)[:600]}"); return False
        e = sa.create_engine(u); left = [t for t in sa.inspect(e).get_table_names() if not t.startswith(("alembic_history", "websauna"))]; e.dispose()
        if left: print(f"seed {seed}: LEFT {left}"); return False
        return True
    except Exception:
        print(f"seed {seed}: TRACEBACK"); traceback.print_exc(limit=-4); return False
    finally:
        sys.path.remove(str(root)); w.forget()
        for u in urls: drop(u)
        if "--keep" not in sys.argv: shutil.rmtree(root, ignore_errors=True)
        else: print(root)

if __name__ == "__main__":
    kind, a, b = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    n = iter(range(10**6))
    if kind == "sqlite":
        d = tempfile.mkdtemp(); make = lambda: f"sqlite:///{d}/{next(n)}.sqlite"; drop = lambda u: None
    else:
        admin = sa.create_engine("postgresql+psycopg2://postgres@127.0.0.1:55999/postgres", isolation_level="AUTOCOMMIT")
        def make():
            name = f"tr_{a}_{next(n)}"
            with admin.connect() as c: c.exec_driver_sql(f"drop database if exists {name}"); c.exec_driver_sql(f"create database {name}")
            return f"postgresql+psycopg2://postgres@127.0.0.1:55999/{name}"
        def drop(u):
            with admin.connect() as c: c.exec_driver_sql(f"drop database if exists {u.rpartition('/')[2]} with (force)")
    ok = 0
    for seed in range(a, b): ok += bool(trial(seed, make, drop))
    print("ok", ok, "of", b - a)
