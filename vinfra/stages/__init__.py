"""The pipe: each module is one verb with one public function; no stage imports another."""
