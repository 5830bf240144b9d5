"""The least that django-helpdesk needs to run its command: PostgreSQL, no debugging, mail that goes nowhere."""

import os

SECRET_KEY = "nobody signs anything here"
DEBUG = False
USE_TZ = True
ROOT_URLCONF = "site_urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["HELPDESK_HOST"],
        "NAME": os.environ["HELPDESK_NAME"],
        "USER": "postgres",
        # One connection for the whole life of the process, as ours.
        "CONN_MAX_AGE": None,
    }
}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.sites",
    "rest_framework",
    "helpdesk",
]
SITE_ID = 1
HELPDESK_TEAMS_MODE_ENABLED = False  # or it asks for another application
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
# No word is written for a ticket: on the other side none is either.
LOGGING_CONFIG = None
SILENCED_SYSTEM_CHECKS = ["admin", "fields.W342"]
