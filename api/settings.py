"""A party's settings: one frozen object, built at the edge from the environment (prefix CONCORDAT_).

What the environment leaves open may stand in the file `settings.env` of the party's own directory, one
`CONCORDAT_NAME=value` a line: parties that one launcher starts share their environment, but not their databases.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from api import keystore
from api.founding import read_terms
from api.home import keys_path, next_roster, previous_roster, read_urls
from api.setup import Secrets
from protocol.agreement.terms import Terms
from protocol.errors import AgreementError, UsageError


class Settings(BaseSettings):
    """Where one party finds what it needs; it is given its own directory and what is public, nothing else.

    `listings_url`, `portfolios_url` and `state_url` are its databases (default: SQLite files in its directory).
    `deadline` bounds in seconds how long it waits for another party. `door` is the URL at which subjects may object,
    for a gateway to name (default: `/subject` at the agreement's first agency, whoever listed the subject);
    `webhook_hosts`, with commas between, are the hosts that a gateway sends webhooks to. With `tls_certificate` (PEM,
    the chain below it included) and `tls_key` it serves HTTPS, otherwise plain HTTP for a proxy before it.
    """

    model_config = SettingsConfigDict(env_prefix="CONCORDAT_", frozen=True, hide_input_in_errors=True)

    party: str
    directory: Path
    roster: Path
    urls: Path
    host: str = "127.0.0.1"
    port: int = 0
    listings_url: SecretStr = SecretStr("")
    portfolios_url: SecretStr = SecretStr("")
    state_url: SecretStr = SecretStr("")
    passphrase: SecretStr | None = None
    deadline: float = 8.0
    workers: int = 1
    door: str = ""
    webhook_hosts: str = "127.0.0.1,::1,localhost"
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given at the call, then the environment, then the party's own file."""
        del dotenv_settings, file_secret_settings
        directory = (env_settings() | init_settings()).get("directory")
        own = Path(directory) / "settings.env" if directory else None
        return init_settings, env_settings, DotEnvSettingsSource(settings_cls, env_file=own)

    @cached_property
    def terms(self) -> Terms:
        """The verified terms: those of the current epoch, unless `in_epoch` gave others."""
        return read_terms(self.roster.read_bytes())

    def in_epoch(self, terms: Terms) -> "Settings":
        """The same settings for another epoch of the agreement."""
        other = self.model_copy()
        vars(other)["terms"] = terms  # where the cached property keeps what it read
        return other

    def in_own_epoch(self) -> "Settings":
        """The same settings for the first of the current, the next and the previous epoch that the party is of.

        Raises:
            AgreementError: it is of none of them.
        """
        for path in (self.roster, next_roster(self.roster), previous_roster(self.roster)):
            if path.exists() and self.party in (terms := read_terms(path.read_bytes())).roster.signing:
                return self.in_epoch(terms)
        raise AgreementError("the party takes no part in the agreement")

    def secrets(self) -> tuple[Secrets, bytes]:
        """Open this party's keys of this epoch: its secrets, and its database's key."""
        return keystore.load(keys_path(self.directory, self.terms.roster.epoch), self.passphrase_bytes())

    def database(self, name: str) -> str:
        """The URL of this party's database `listings`, `portfolios` or `state`."""
        url: SecretStr = getattr(self, f"{name}_url")
        return url.get_secret_value() or f"sqlite:///{self.directory.absolute() / name}.sqlite"

    def parties(self) -> Mapping[str, str]:
        """Where every party listens now; nobody does while the file is not there yet."""
        try:
            stat = self.urls.stat()
        except FileNotFoundError:
            return {}
        return _read_urls(self.urls, stat.st_ino, stat.st_mtime_ns)  # asked for each message, and rarely another

    def door_url(self) -> str:
        """Where subjects may object: one door for all of an agreement's agencies."""
        first = self.terms.agencies[0]
        return self.door or f"{self.parties().get(first, f'https://{first}.invalid')}/subject"

    def passphrase_bytes(self) -> bytes:
        """What opens this party's keys.

        Raises:
            UsageError: it stands nowhere.
        """
        if self.passphrase is not None:
            return self.passphrase.get_secret_value().encode()
        path = self.directory / "passphrase"
        if not path.exists():
            raise UsageError("no passphrase: set CONCORDAT_PASSPHRASE, or put it into the party's directory")
        return path.read_bytes().strip()


@lru_cache(1)
def _read_urls(path: Path, _inode: int, _modified: int) -> Mapping[str, str]:
    """Read a file of addresses, which `write_urls` replaces and never changes, unless it was read last."""
    return read_urls(path)
