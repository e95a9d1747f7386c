"use strict"; // nothing happens on the page that asks for the token
