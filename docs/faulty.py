"""Settings with a fault each, by the id of what the doctor finds in them.

The reference shows what it says of them; the tests correct them with the lines it says to write.
"""

from __future__ import annotations

#: What a setting leaves out is as Django has it.
FAULTY = {
    "sojourn.E002": """\
CACHES = {
    'BACKEND': 'django.core.cache.backends.memcached.MemcachedCache'
    'LOCATION': 'my_memcached_host:11211',
}
""",
    "sojourn.E003": """\
SESSION_ENGINE = 'django.core.cache.backends.db.DatabaseCache'
""",
    "sojourn.E004": """\
SESSION_ENGINE = "sojourn.django.backend.cached_db"
""",
    "sojourn.E005": """\
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
    'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'
}
""",
    "sojourn.E006": """\
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "sessions": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "127.0.0.1:11211",
    },
}
""",
    "sojourn.E007": """\
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
    "default": {
        "BACKEND": "redis_cache.cache.RedisCache",
        "LOCATION": "127.0.0.1:6379:1",
        "OPTIONS": {
            "CLIENT_CLASS": "redis_cache.client.DefaultClient",
        }
    }
}
""",
    "sojourn.E008": """\
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
""",
    "sojourn.E009": """\
SESSION_ENGINE = "sojourn.django.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "10.0.0.1:6379",
    },
}
""",
    "sojourn.E010": """\
SESSION_ENGINE = "sojourn.django.backends.db"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
""",
    "sojourn.E011": """\
SESSION_ENGINE = "sojourn.django.backends.cached_db"
DATABASES = {}
""",
    "sojourn.E012": """\
SESSION_SERIALIZER = "django.contrib.sessions.serializers.PickleSerializer"
""",
    "sojourn.E013": """\
SESSION_ENGINE = "sojourn.django.backends.embedded"
SOJOURN = {"PAHT": "/var/lib/mysite/sessions.sqlite3"}
""",
    "sojourn.E016": """\
SESSION_ENGINE = "sojourn.django.backends.embedded"
SOJOURN = {"ABSOLUTE_TIMEOUT": 24 * 3600}
BASE_DIR = None
""",
    "sojourn.W001": """\
SESSION_ENGINE = "sojourn.django.backends.embedded"
SECRET_KEY = "django-insecure-changeme"
""",
    "sojourn.W003": """\
SESSION_ENGINE = "sojourn.django.backends.cache"
""",
    "sojourn.W004": """\
SESSION_COOKIE_SECURE = False
""",
    "sojourn.W005": """\
SESSION_COOKIE_HTTPONLY = False
""",
    "sojourn.W006": """\
SESSION_COOKIE_SAMESITE = "None"
""",
    "sojourn.W007": """\
SESSION_COOKIE_AGE = 2 * 365 * 24 * 3600
""",
    "sojourn.W008": """\
ASGI_APPLICATION = "mysite.asgi.application"
SESSION_ENGINE = "sojourn.django.backends.embedded"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
""",
    "sojourn.W009": """\
SESSION_ENGINE = "sojourn.django.backends.db"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "mysite",
        "HOST": "10.0.0.1",
    },
}
""",
    "sojourn.W010": """\
SESSION_ENGINE = "sojourn.django.backends.signed_cookies"
""",
    "sojourn.W012": """\
SESSION_ENGINE = 'django.contrib.sessions.backends.db'
DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.mysql',
        'NAME': 'dash',
        'HOST': 'localhost',
        'default-character-set': 'utf8'
    }
}
""",
    "sojourn.W014": """\
SESSION_ENGINE = "sojourn.django.backends.cached_db"
""",
    "sojourn.I001": """\
SESSION_ENGINE = "sojourn.django.backends.embedded"
""",
    "sojourn.I003": """\
SESSION_ENGINE = "sojourn.django.backends.file"
SESSION_COOKIE_AGE = 14 * 24 * 3600
""",
    "sojourn.I004": """\
SECRET_KEY_FALLBACKS = ["django-insecure-changeme"]
SESSION_ENGINE = "sojourn.django.backends.embedded"
""",
    "sojourn.I002": """\
SESSION_ENGINE = "django.contrib.sessions.backends.file"
""",
}

#: What to do about the rest, which is not found in a settings file alone.
REMEDIES = {
    "sojourn.E001": "What is wrong, and what to write, is what the message says.",
    "sojourn.E015": "`pip install 'redis[hiredis]>=6'` for Redis and Valkey, `pip install "
    "'SQLAlchemy[asyncio]>=2.0.43'` and a driver for the address of a database; the extras `redis` and `sql` "
    "of Sojourn bring the same.",
    "sojourn.E014": "Install what is missing, or take the line out.",
    "sojourn.W013": "Make the folder, for the user that the application runs as, and check as that user: "
    "`install -d -m 0700 -o USER FOLDER`.",
    "sojourn.W002": "Run `manage.py migrate`, with `--database` if the table is not in `default`.",
    "sojourn.W015": "Run `manage.py sojourn_partition`, then restart the site.",
    # What only servers can say; the lines are those of the server's own configuration.
    "sojourn.E101": "Start the server, open the way to it, or correct its address.",
    "sojourn.E102": "Install the version that is named, or a later one.",
    "sojourn.E103": "Run `manage.py migrate`, with `--database` if the table is not in `default`.",
    "sojourn.E104": "Start the site, or correct the address given to `--site`.",
    "sojourn.W103": "Run the server nearer to the application: on the same machine, or in the same zone.",
    "sojourn.W104": "Let both machines take the time from the network: `timedatectl set-ntp true`.",
    "sojourn.W105": "Raise `-I` in `/etc/memcached.conf` to what the finding says, and restart memcached.",
    "sojourn.W106": "Raise `-m` in `/etc/memcached.conf` to what the finding says, and restart memcached.",
    "sojourn.W107": "Give it more memory: `-m` of memcached, `maxmemory` of Redis.",
    "sojourn.W108": "`maxmemory-policy noeviction` in `redis.conf`. A full server then refuses to save, "
    "which is an error that is seen, and reads go on.",
    "sojourn.W109": "`appendonly yes` in `redis.conf`.",
    "sojourn.W110": "Create the indexes with the statements the finding names.",
    "sojourn.W111": "`VACUUM` the table once, and let autovacuum come more often, by the statement the "
    "finding names. A transaction that is open for hours keeps it from clearing: "
    "`SELECT * FROM pg_stat_activity ORDER BY xact_start`.",
    "sojourn.W112": "Run `manage.py sojourn_purge` once. Sojourn's stores purge a little with every tenth "
    "new session: so many are left over only where few sessions begin.",
    "sojourn.W113": "Let transactions be `read committed`, in `OPTIONS` or in the database.",
    "sojourn.W114": "Let headers be longer: `large_client_header_buffers` in nginx, `LimitRequestFieldSize` "
    'in Apache, `--limit-request-field_size` of gunicorn. Or lower `SOJOURN["MAX_COOKIES"]`.',
    "sojourn.I101": "`appendonly yes` in `redis.conf`, which writes each second.",
}
