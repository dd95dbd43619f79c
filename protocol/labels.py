"""Every label that separates domains, in one place; no two may be equal (tested)."""

SUITE = "concordat-v1"
INSECURE_TEST_SUITE = "concordat-v1-insecure-test"

# Signed messages: the DSSE payload type is this prefix, the message type, and "+cbor".
PAYLOAD_TYPE_PREFIX = "application/vnd.concordat.v1."
WITHDRAWAL_PAYLOAD_TYPE = "application/vnd.concordat.v1.withdrawal+cbor"
ROSTER_PAYLOAD_TYPE = "application/vnd.concordat.v1.roster+cbor"

# Key derivation from a pseudonym t (HKDF info).
BUCKET = b"concordat-v1 bucket"
SESSION_KEY = b"concordat-v1 session key"

# HMAC inputs under a session key or a question secret T.
QUESTION = b"concordat-v1 question"
TAG = b"concordat-v1 tag"
MASK = b"concordat-v1 mask"
SIEVE = b"concordat-v1 sieve"
ACCESS_TAG = b"concordat-v1 access tag"

# Hashes.
IDENTIFIER = b"concordat-v1 identifier"
CASE = b"concordat-v1 case"
ASK_COMMITMENT = b"concordat-v1 ask commitment"
DECISION_BINDING = b"concordat-v1 decision binding"
MESSAGE_HASH = b"concordat-v1 message hash"
DOCUMENT_HASH = b"concordat-v1 document hash"
FIGURES_CELLS = b"concordat-v1 figures cells"
FIGURES_SESSION = b"concordat-v1 figures session"

# HPKE info.
SEALED_ASK = b"concordat-v1 sealed ask"
SEALED_ANSWER = b"concordat-v1 sealed answer"
SEALED_SIEVE = b"concordat-v1 sealed sieve"
SEALED_ACCESS = b"concordat-v1 sealed access"
SEALED_CONTENT = b"concordat-v1 sealed content"
SEALED_CONTRIBUTION = b"concordat-v1 sealed contribution"
SEALED_DKG_SHARE = b"concordat-v1 sealed dkg share"
SEALED_OPENING_SHARE = b"concordat-v1 sealed opening share"

# What a key is for, in the context it is bound to.
OPRF_KEY = b"concordat-v1 oprf key"
OPENING_KEY = b"concordat-v1 opening key"

# Distributed key generation.
DKG_CONTEXT = b"concordat-v1 dkg context"
DKG_COMMITMENT = b"concordat-v1 dkg commitment"
DKG_KNOWLEDGE = b"concordat-v1 dkg proof of knowledge"
DKG_SEALED = b"concordat-v1 dkg sealed shares"
DKG_TRANSCRIPT = b"concordat-v1 dkg transcript"

# The opening key's ceremony and share proofs.
CEREMONY_BASE = b"concordat-v1 ceremony base"
COPRIME_CHALLENGE = b"concordat-v1 coprime challenge"
SHARE_PROOF = b"concordat-v1 opening share proof"

# A node's own key for its database.
COLUMN_ENCRYPTION = b"concordat-v1 node column encryption"
COLUMN_DIGEST = b"concordat-v1 node column digest"
AUDIT_TRAIL = b"concordat-v1 node audit trail"
BACKUP = b"concordat-v1 node backup"
