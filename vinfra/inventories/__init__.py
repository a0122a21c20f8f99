"""Inventories of other tools: Ansible's, pyinfra's and NetBox's, read into ours."""
