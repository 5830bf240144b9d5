"""What can be set about billing; a part of the settings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from ticket_worker.addresses import is_private

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class BillingSettings(BaseSettings):
    """The part of the settings that is about money."""

    billing: Literal["off", "console", "stripe"] = Field(
        default="console", description="off, console (usage of test customers goes to the log) or stripe"
    )
    stripe_mode: Literal["test", "live"] = Field(
        default="test", description="test or live: customers of the other mode are left alone"
    )
    stripe_api_key: SecretStr | None = Field(
        default=None, description="a secret or restricted key of that mode, sk_test_… or rk_live_…"
    )
    stripe_api_url: str | None = Field(
        default=None, description="https://host, or http:// on this machine, in place of Stripe's own address"
    )
    stripe_account: str | None = Field(
        default=None, description="acct_…; events of another account are kept and ignored"
    )
    stripe_webhook_secrets: SecretStr | None = Field(
        default=None, description="whsec_…, the secret of the endpoint for snapshot events; two, while it is changed"
    )
    stripe_thin_secrets: SecretStr | None = Field(
        default=None, description="whsec_…, the secret of the endpoint for thin events; two, while it is changed"
    )
    stripe_calls_per_second: Annotated[float, Field(ge=1, le=100)] = Field(
        default=15.0, description="calls to Stripe per second, of the whole fleet together, 1 to 100"
    )
    stripe_timeout_seconds: Annotated[float, Field(ge=1, le=30)] = Field(
        default=10.0, description="seconds to wait for any one answer of Stripe's, 1 to 30"
    )
    report_interval_seconds: Seconds = Field(default=30.0, description="seconds between two reports of usage, above 0")
    webhook_host: str = Field(default="127.0.0.1", description="the address on which `ticket-worker webhook` listens")
    webhook_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=8020, description="its port, 0 to 65535; 0 takes any that is free"
    )

    @field_validator("billing", "stripe_mode", mode="before")
    @classmethod
    def _any_spelling(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("stripe_api_url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        # The key goes there: in the clear on this machine only.
        if value is not None and not is_private(value):
            raise ValueError("this address would get the key unencrypted")
        return value

    @field_validator("stripe_webhook_secrets", "stripe_thin_secrets")
    @classmethod
    def _are_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(one.startswith("whsec_") for one in secrets_in(value)):
            raise ValueError("not every part of it is a webhook secret")
        return value

    @model_validator(mode="after")
    def _billable(self) -> Self:
        key = self.stripe_api_key.get_secret_value() if self.stripe_api_key else None
        if self.billing == "stripe" and key is None:
            raise ValueError("TICKETS_STRIPE_API_KEY: missing; TICKETS_BILLING=stripe needs it")
        if key is not None and not key.startswith((f"sk_{self.stripe_mode}_", f"rk_{self.stripe_mode}_")):
            other = "live" if self.stripe_mode == "test" else "test"
            is_other = key.startswith((f"sk_{other}_", f"rk_{other}_"))
            what = f"this is a {other} key" if is_other else "this is no secret key"
            raise ValueError(f"TICKETS_STRIPE_API_KEY: {what}, and TICKETS_STRIPE_MODE is {self.stripe_mode}")
        if self.billing == "console" and self.stripe_mode == "live":
            raise ValueError("TICKETS_BILLING: console would call live usage reported. Expected: stripe, or test mode")
        return self

    @property
    def billing_secrets(self) -> list[str]:
        """What of it must stand in no log."""
        key = [self.stripe_api_key.get_secret_value()] if self.stripe_api_key else []
        signing = [*secrets_in(self.stripe_webhook_secrets), *secrets_in(self.stripe_thin_secrets)]
        return [*key, *signing]

    @property
    def livemode(self) -> bool:
        """Whether customers and keys are those of Stripe's live mode."""
        return self.stripe_mode == "live"


def secrets_in(value: SecretStr | None) -> list[str]:
    """Return the secrets that a setting holds, apart by commas or spaces; none where it is empty."""
    return value.get_secret_value().replace(",", " ").split() if value else []
