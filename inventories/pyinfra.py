"""An inventory of pyinfra's: lists are groups, a tuple brings data along."""

web = ([f"web{number:02}" for number in range(1, 5)], {"workers": 4, "ssh_port": 2222})
db = [("db1", {"ssh_hostname": "10.20.0.21", "ssh_user": "dba", "_sudo": True})]
