"""One side of a match by SecretFlow SPU, as compare/spu.rs starts it: two of them, each with its rank."""
import argparse
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--rank", type=int, required=True)
parser.add_argument("--addresses", nargs=2, required=True)
parser.add_argument("--source", required=True, help="CSV with a column `id`")
parser.add_argument("--out", required=True)
parser.add_argument("--protocol", choices=["RR22", "ECDH"], required=True)
given = parser.parse_args()

import spu.libspu.link as link
import spu.psi as psi

parties = link.Desc()
parties.recv_timeout_ms = 3_600_000
for name, address in zip("ab", given.addresses):
    parties.add_party(name, address)
files = psi.SourceType.SOURCE_TYPE_FILE_CSV
report = psi.psi_execute(
    psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.parse_protocol(f"PROTOCOL_{given.protocol}"),
            receiver_rank=0,
            broadcast_result=False,
            bucket_size=1 << 20,
            ecdh_params=psi.EcdhParams(curve=psi.parse_curve_type("CURVE_25519")),
            # False is the mode that takes the least processor time.
            rr22_params=psi.Rr22Rarams(low_comm_mode=False),
        ),
        input_params=psi.InputParams(type=files, path=given.source, selected_keys=["id"], keys_unique=True),
        output_params=psi.OutputParams(type=files, path=given.out, disable_alignment=True),
    ),
    link.create_brpc(parties, given.rank),
)
sys.stdout.flush()
# The library's threads do not end by themselves.
os._exit(0 if report.original_count > 0 else 1)
