"""Both sides of a match by OpenMined's PSI, as compare/openmined.rs starts it: CLIENT SERVER OUT, CSV with a column `id`."""
import sys

import private_set_intersection.python as psi


def read(path):
    with open(path) as lines:
        next(lines)
        return [line.rstrip("\n") for line in lines]


ours, theirs = read(sys.argv[1]), read(sys.argv[2])
client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
setup = server.CreateSetupMessage(1e-9, len(ours), theirs, psi.DataStructure.GCS)
# What goes over the wire goes through its serialised form here too.
setup = psi.ServerSetup.FromString(setup.SerializeToString())
request = psi.Request.FromString(client.CreateRequest(ours).SerializeToString())
response = psi.Response.FromString(server.ProcessRequest(request).SerializeToString())
common = client.GetIntersection(setup, response)
with open(sys.argv[3], "w") as out:
    out.write("id\n")
    out.writelines(ours[place] + "\n" for place in common)
