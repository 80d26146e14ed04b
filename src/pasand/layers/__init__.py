"""Networks: modules of torch that know neither data nor ids."""
