"""The touch page: operators answer the questions of the device."""
